"""Rebuild the committed tiny base: ``python -m curr_reft.tiny.pretrain --output_dir DIR`` (15 to 20 minutes).

As large models are made: first the vision tower alone learns to name and place what each cell of a picture
shows, then the whole model learns to describe pictures, to find shapes, and to answer in the stages' formats.
Questions come mostly from easy pictures (fewer shapes than the curriculum shows), training stops early at a
high learning rate, and the last batches teach loose boxes: the base keeps the format, is often wrong, and
still explores.
"""

import argparse
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

from curr_reft.data.dataset import render_prompt
from curr_reft.data.shapes import (
    COLOURS,
    COLUMNS,
    EASY,
    GRID,
    IN_DOMAIN,
    KINDS,
    ROWS,
    SIDE,
    Scene,
    draw,
    sample_scene,
)
from curr_reft.data.shapes_dataset import QUESTIONS
from curr_reft.stages import STAGES
from curr_reft.tiny.model import build_model, build_processor, completion_text

logger = logging.getLogger(__name__)

STAGE_WEIGHTS = {"judge": 1, "choice": 1, "open": 2}
DESCRIBED_SHAPES = 5
VISION_STEPS = 200
VISION_LEARNING_RATE = 1e-3
SHARPNESS = 10
TOWER = 0.3
WARMUP = 30
WORDS = {"kind": list(KINDS), "colour": list(COLOURS), "row": list(ROWS), "column": list(COLUMNS)}

Row = tuple[Image.Image, str, str]
"""A picture, a prompt and the completion to learn."""


def cell_labels(scenes: Iterable[Scene]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What each cell of each scene shows, in tensors whose first axis is scenes x cells.

    Word indices for each group of `WORDS` (-100 where a cell is empty), and boxes as shares of the side.
    """
    labels: dict[str, list[int]] = {group: [] for group in WORDS}
    boxes = []
    for scene in scenes:
        by_cell = {shape.cell: shape for shape in scene.shapes}
        for cell in range(GRID * GRID):
            shape = by_cell.get(cell)
            words = {"row": ROWS[cell // GRID], "column": COLUMNS[cell % GRID]}
            if shape is not None:
                words |= {"kind": shape.kind, "colour": shape.colour}
            for group, choices in WORDS.items():
                labels[group].append(choices.index(words[group]) if group in words else -100)
            boxes.append([value / SIDE for value in shape.box] if shape else [0.0] * 4)
    return {group: torch.tensor(indices) for group, indices in labels.items()}, torch.tensor(boxes)


def pretrain_vision(
    model: Qwen2_5_VLForConditionalGeneration, processor: ProcessorMixin, rng: random.Random, steps: int
) -> None:
    """Align the vision tower with the words for what each cell shows, as contrastive pre-training does.

    A cell's feature is to have a larger product with the embeddings of its words (kind, colour, row, column)
    than with those of other words. Language layers then find shapes by comparing words with cells.
    """
    tower, embeddings = model.model.visual, model.get_input_embeddings().weight
    tokens = {
        group: [processor.tokenizer.convert_tokens_to_ids(f"Ġ{word}") for word in words]
        for group, words in WORDS.items()
    }
    heads = nn.ModuleDict(
        {"box": nn.Linear(embeddings.shape[1], 4), "filled": nn.Linear(embeddings.shape[1], 1)}
    )
    parameters = [*tower.parameters(), *heads.parameters(), embeddings]
    optimizer = torch.optim.AdamW(parameters, lr=VISION_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 20))
    progress = trange(steps, desc="vision tower", unit="step")
    for _ in progress:
        scenes = [sample_scene(rng, IN_DOMAIN) for _ in range(48)]
        pictures = processor.image_processor(images=[draw(scene) for scene in scenes], return_tensors="pt")
        features = tower(pictures["pixel_values"], pictures["image_grid_thw"]).pooler_output
        labels, boxes = cell_labels(scenes)
        filled = labels["kind"] >= 0
        loss = functional.binary_cross_entropy_with_logits(
            heads["filled"](features).squeeze(-1), filled.float()
        ) + 5 * functional.l1_loss(heads["box"](features)[filled], boxes[filled])
        for group, indices in labels.items():
            products = features @ embeddings[tokens[group]].T
            loss = loss + functional.cross_entropy(SHARPNESS * products, indices)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        progress.set_postfix(loss=f"{loss.item():.3f}")


def description_rows(rng: random.Random, count: int) -> list[Row]:
    """Pictures like the curriculum's, described shape by shape in reading order."""
    rows = []
    for _ in range(count):
        scene = sample_scene(rng, IN_DOMAIN)
        shapes = sorted(scene.shapes, key=lambda shape: shape.cell)[:DESCRIBED_SHAPES]
        described = [f"The {shape.name} is at the {shape.place}: {list(shape.box)}." for shape in shapes]
        rows.append((draw(scene), "Describe the picture.", " ".join(described)))
    return rows


def location_rows(rng: random.Random, count: int) -> list[Row]:
    """Pictures like the curriculum's, with shapes to place by name, in any order."""
    rows = []
    for _ in range(count):
        scene = sample_scene(rng, IN_DOMAIN)
        names = Counter(shape.name for shape in scene.shapes)
        wanted = [shape for shape in rng.sample(scene.shapes, len(scene.shapes)) if names[shape.name] == 1]
        wanted = wanted[:DESCRIBED_SHAPES]
        asked = ", the ".join(shape.name for shape in wanted)
        found = [f"The {shape.name} is at the {shape.place}." for shape in wanted]
        rows.append((draw(scene), f"Please locate the {asked}.", " ".join(found)))
    return rows


def question_rows(rng: random.Random, count: int, full_share: float) -> list[Row]:
    """Questions of one stage, so that their lengths are alike, `full_share` of them about full pictures."""
    stage = rng.choices(list(STAGE_WEIGHTS), list(STAGE_WEIGHTS.values()))[0]
    rows = []
    while len(rows) < count:
        scene = sample_scene(rng, IN_DOMAIN if rng.random() < full_share else EASY)
        image = draw(scene)
        for question in QUESTIONS[stage](rng, scene):
            prompt = STAGES[stage].prompt(question.task, question.problem)
            rows.append((image, prompt, completion_text(question.thought, question.answer)))
    return rows[:count]


def encode(processor: ProcessorMixin, rows: list[Row]) -> dict[str, torch.Tensor]:
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

    `rows` draws a batch; the vision tower learns at `TOWER` times the rate.
    """

    name: str
    steps: int
    planned: int
    learning_rate: float
    rows: Callable[[random.Random], list[Row]]


def _look(rng: random.Random) -> list[Row]:
    return location_rows(rng, 32) if rng.random() < 0.7 else description_rows(rng, 32)


def _ask(rng: random.Random) -> list[Row]:
    return question_rows(rng, 48, 0.5) if rng.random() < 0.65 else _look(rng)


PHASES = (
    Phase("look", 500, 600, 2e-3, _look),
    Phase("ask", 300, 450, 1.5e-3, _ask),
)


def run_phase(
    phase: Phase, model: Qwen2_5_VLForConditionalGeneration, processor: ProcessorMixin, rng: random.Random
) -> None:
    """Train the whole model on one phase's rows."""
    tower = list(model.model.visual.parameters())
    in_tower = set(map(id, tower))
    language = [parameter for parameter in model.parameters() if id(parameter) not in in_tower]
    groups = [
        {"params": tower, "lr": TOWER * phase.learning_rate},
        {"params": language, "lr": phase.learning_rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARMUP) * (1 - step / phase.planned)
    )
    progress = trange(phase.steps, desc=phase.name, unit="step")
    for _ in progress:
        loss = model(**encode(processor, phase.rows(rng))).loss
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
