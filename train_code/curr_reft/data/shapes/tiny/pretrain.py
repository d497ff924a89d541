"""Rebuild the committed tiny base, in 15 to 20 minutes.

    python -m curr_reft.data.shapes.tiny.pretrain --output_dir DIR

As large models are made: first the vision tower alone learns to name and place what each cell of an image
shows, then the whole model learns to describe images, to find shapes, and to answer in the stages' formats.
Questions come mostly from easy images (fewer shapes than the curriculum shows), training stops early at a
high learning rate, and the last batches teach loose boxes: the base keeps the format, is often wrong, and
still explores.
"""

import argparse
import json
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from tqdm import trange
from transformers import ProcessorMixin, Qwen2_5_VLForConditionalGeneration, set_seed

from curr_reft.data.prompts import render_prompt
from curr_reft.data.shapes.__main__ import QUESTIONS
from curr_reft.data.shapes.scenes import (
    CELL,
    COLOURS,
    EASY,
    GRID,
    IN_DOMAIN,
    KINDS,
    SIDE,
    Scene,
    draw,
    sample_scene,
)
from curr_reft.data.shapes.tiny.model import build_model, build_processor, completion_text
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import find_task

logger = logging.getLogger(__name__)

STAGE_WEIGHTS = {"judge": 1, "choice": 1, "open": 2}
DESCRIBED_SHAPES = 5
VISION_STEPS = 200
VISION_LEARNING_RATE = 1e-3

Sample = tuple[Image.Image, str, str]
"""An image, a prompt and the completion to learn."""


def cell_labels(scenes: Iterable[Scene]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Kind and colour indices of each cell (-100 where it is empty), and its box as shares of the side."""
    kinds, colours, boxes = [], [], []
    for scene in scenes:
        by_cell = {shape.box[1] // CELL * GRID + shape.box[0] // CELL: shape for shape in scene.shapes}
        for cell in range(GRID * GRID):
            shape = by_cell.get(cell)
            kinds.append(KINDS.index(shape.kind) if shape else -100)
            colours.append(list(COLOURS).index(shape.colour) if shape else -100)
            boxes.append([value / SIDE for value in shape.box] if shape else [0.0] * 4)
    return torch.tensor(kinds), torch.tensor(colours), torch.tensor(boxes)


def pretrain_vision(
    model: Qwen2_5_VLForConditionalGeneration, processor: ProcessorMixin, rng: random.Random, steps: int
) -> None:
    """Teach the vision tower what each cell shows and where; the heads it learns with are thrown away."""
    tower = model.model.visual
    width = model.config.text_config.hidden_size
    heads = nn.ModuleDict(
        {
            "kind": nn.Linear(width, len(KINDS)),
            "colour": nn.Linear(width, len(COLOURS)),
            "box": nn.Linear(width, 4),
            "filled": nn.Linear(width, 1),
        }
    )
    parameters = [*tower.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=VISION_LEARNING_RATE, betas=(0.9, 0.95))
    progress = trange(steps, desc="vision tower", unit="step")
    for step in progress:
        for group in optimizer.param_groups:
            group["lr"] = VISION_LEARNING_RATE * min(1.0, (step + 1) / 20)
        scenes = [sample_scene(rng, IN_DOMAIN) for _ in range(48)]
        images = processor.image_processor(images=[draw(scene) for scene in scenes], return_tensors="pt")
        features = tower(images["pixel_values"], images["image_grid_thw"]).pooler_output
        kinds, colours, boxes = cell_labels(scenes)
        filled = kinds >= 0
        loss = (
            functional.cross_entropy(heads["kind"](features), kinds)
            + functional.cross_entropy(heads["colour"](features), colours)
            + functional.binary_cross_entropy_with_logits(
                heads["filled"](features).squeeze(-1), filled.float()
            )
            + 5 * functional.l1_loss(heads["box"](features)[filled], boxes[filled])
        )
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        progress.set_postfix(loss=f"{loss.item():.3f}")


def description_rows(rng: random.Random, count: int) -> list[Sample]:
    """Images like the curriculum's, described shape by shape in reading order."""
    rows = []
    for _ in range(count):
        scene = sample_scene(rng, IN_DOMAIN)
        shapes = sorted(scene.shapes, key=lambda shape: (shape.box[1] // CELL, shape.box[0] // CELL))
        described = [
            f"The {shape.name} is at the {shape.place}: {list(shape.box)}."
            for shape in shapes[:DESCRIBED_SHAPES]
        ]
        rows.append((draw(scene), "Describe the picture.", " ".join(described)))
    return rows


def location_rows(rng: random.Random, count: int) -> list[Sample]:
    """Images like the curriculum's, with shapes to find by name, in any order."""
    rows = []
    for _ in range(count):
        scene = sample_scene(rng, IN_DOMAIN)
        names = Counter(shape.name for shape in scene.shapes)
        wanted = [shape for shape in rng.sample(scene.shapes, len(scene.shapes)) if names[shape.name] == 1]
        asked = ", the ".join(shape.name for shape in wanted[:DESCRIBED_SHAPES])
        found = [f"The {shape.name} is at the {shape.place}: {list(shape.box)}." for shape in wanted]
        rows.append((draw(scene), f"Please locate the {asked}.", " ".join(found[:DESCRIBED_SHAPES])))
    return rows


def _question_scene(rng: random.Random, full_share: float) -> Scene:
    """An easy scene, or with probability `full_share` one as full as the curriculum's."""
    return sample_scene(rng, IN_DOMAIN if rng.random() < full_share else EASY)


def loose_box_rows(rng: random.Random, count: int) -> list[Sample]:
    """Detection questions answered by half a cell around the middle of the right one, too small a box."""
    rows = []
    for _ in range(count):
        scene = _question_scene(rng, 0.4)
        question = QUESTIONS["open"](rng, scene)[0]
        x, y = (value // CELL * CELL for value in json.loads(question.answer)["bbox_2d"][:2])
        quarter = CELL // 4
        box = [x + quarter, y + quarter, x + CELL - quarter, y + CELL - quarter]
        prompt = find_task(question.task).asking(STAGES["open"]).prompt(question.problem)
        rows.append((draw(scene), prompt, completion_text(question.thought, json.dumps({"bbox_2d": box}))))
    return rows


def question_rows(rng: random.Random, count: int, full_share: float) -> list[Sample]:
    """Questions of one stage, so that their lengths are alike, `full_share` of them about full images."""
    stage = rng.choices(list(STAGE_WEIGHTS), list(STAGE_WEIGHTS.values()))[0]
    rows = []
    while len(rows) < count:
        scene = _question_scene(rng, full_share)
        image = draw(scene)
        for question in QUESTIONS[stage](rng, scene):
            prompt = find_task(question.task).asking(STAGES[stage]).prompt(question.problem)
            rows.append((image, prompt, completion_text(question.thought, question.answer)))
    return rows[:count]


def encode(processor: ProcessorMixin, rows: list[Sample]) -> dict[str, torch.Tensor]:
    """Tokenise rows with labels on the completion alone (prompt and padding are -100)."""
    end = processor.tokenizer.eos_token
    texts = [render_prompt(processor, prompt) + completion + end for _, prompt, completion in rows]
    images = [image for image, _, _ in rows]
    batch = processor(text=texts, images=images, padding=True, padding_side="left", return_tensors="pt")
    labels = batch["input_ids"].clone()
    for row, (_, _, completion) in enumerate(rows):
        labels[row, : -len(processor.tokenizer(completion + end).input_ids)] = -100
    return {**batch, "labels": labels}


@dataclass(frozen=True)
class Phase:
    """Some steps on one mixture; the learning rate falls linearly, as if to zero at `planned` steps.

    It stops falling at `floor`. `rows` draws a batch, given how much of the plan is done; `tower` is the
    vision tower's share of the rate.
    """

    name: str
    steps: int
    planned: int
    learning_rate: float
    rows: Callable[[random.Random, float], list[Sample]]
    floor: float = 0.1
    tower: float = 0.3


def _describe_then_ask(rng: random.Random, done: float) -> list[Sample]:
    return description_rows(rng, 32) if rng.random() < 0.8 - 0.7 * done else question_rows(rng, 48, 0.15)


def _locate_and_ask(rng: random.Random, done: float) -> list[Sample]:
    return location_rows(rng, 32) if rng.random() < 0.6 else question_rows(rng, 48, 0.4)


PHASES = (
    Phase("describe", 800, 800, 2e-3, _describe_then_ask),
    Phase("locate", 150, 300, 1.5e-3, _locate_and_ask),
    Phase("loose boxes", 8, 8, 2e-4, lambda rng, done: loose_box_rows(rng, 32), floor=1.0, tower=0.0),
)


def run_phase(
    phase: Phase, model: Qwen2_5_VLForConditionalGeneration, processor: ProcessorMixin, rng: random.Random
) -> None:
    """Train the whole model on one phase's rows."""
    tower = {id(parameter) for parameter in model.model.visual.parameters()}
    language = [parameter for parameter in model.parameters() if id(parameter) not in tower]
    groups = [
        {"params": model.model.visual.parameters(), "lr": phase.tower * phase.learning_rate},
        {"params": language, "lr": phase.learning_rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.95))
    warmup = max(1, phase.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / warmup) * max(phase.floor, 1 - step / phase.planned)
    )
    progress = trange(phase.steps, desc=phase.name, unit="step")
    for step in progress:
        loss = model(**encode(processor, phase.rows(rng, step / phase.planned))).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        progress.set_postfix(loss=f"{loss.item():.3f}")


def pretrain(output_dir: Path, vision_steps: int, phases: Iterable[Phase], seed: int) -> None:
    """Train from nothing and save model (bfloat16) and processor to `output_dir`."""
    set_seed(seed)
    rng = random.Random(seed)
    processor = build_processor(seed)
    model = build_model(processor, seed).train()
    pretrain_vision(model, processor, rng, vision_steps)
    for phase in phases:
        run_phase(phase, model, processor, rng)
    model.to(torch.bfloat16).save_pretrained(output_dir)
    processor.save_pretrained(output_dir)
    logger.info("wrote %s", output_dir)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    pretrain(arguments.output_dir, VISION_STEPS, PHASES, arguments.seed)


if __name__ == "__main__":
    main()
