"""Rebuild the committed tiny base: ``python -m curr_reft.tiny.pretrain --output_dir DIR``.

As large models are made: first the vision tower alone learns to name and place what each cell of a picture
shows, then the whole model learns to describe pictures and, more and more, to answer in the stages' formats.
Questions come mostly from easy pictures (fewer shapes than the curriculum shows), and training stops early,
so that the base keeps the format, is often wrong, and still explores.
"""

import argparse
import logging
import random
from collections.abc import Iterable
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from tqdm import trange
from transformers import ProcessorMixin, Qwen2_5_VLForConditionalGeneration, set_seed

from curr_reft.data.dataset import conversation
from curr_reft.data.shapes import CELL, COLOURS, EASY, GRID, IN_DOMAIN, KINDS, SIDE, Scene, draw, sample_scene
from curr_reft.data.shapes_dataset import QUESTIONS
from curr_reft.stages import STAGES
from curr_reft.tiny.model import build_model, build_processor, completion_text

logger = logging.getLogger(__name__)

STAGE_WEIGHTS = {"judge": 1, "choice": 1, "open": 2}
HARD_SHARE = 0.15
"""Share of question pictures as full as the curriculum's, so that long lists and large counts occur."""
DESCRIBED_SHAPES = 5
VISION_LEARNING_RATE = 1e-3

Row = tuple[Image.Image, str, str]
"""A picture, a prompt and the completion to learn."""


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
        pictures = processor.image_processor(images=[draw(scene) for scene in scenes], return_tensors="pt")
        features = tower(pictures["pixel_values"], pictures["image_grid_thw"]).pooler_output
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


def description_rows(rng: random.Random, count: int) -> list[Row]:
    """Pictures like the curriculum's, described shape by shape in reading order."""
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


def question_rows(rng: random.Random, count: int) -> list[Row]:
    """Questions of one stage, so that their lengths are alike, mostly about easy pictures."""
    stage = rng.choices(list(STAGE_WEIGHTS), list(STAGE_WEIGHTS.values()))[0]
    rows = []
    while len(rows) < count:
        scene = sample_scene(rng, IN_DOMAIN if rng.random() < HARD_SHARE else EASY)
        image = draw(scene)
        for question in QUESTIONS[stage](rng, scene):
            prompt = STAGES[stage].prompt(question.task, question.problem)
            rows.append((image, prompt, completion_text(question.thought, question.answer)))
    return rows[:count]


def encode(processor: ProcessorMixin, rows: list[Row]) -> dict[str, torch.Tensor]:
    """Tokenise rows with labels on the completion alone (prompt and padding are -100)."""
    end = processor.tokenizer.eos_token
    texts = [
        processor.apply_chat_template(conversation(prompt), add_generation_prompt=True) + completion + end
        for _, prompt, completion in rows
    ]
    images = [image for image, _, _ in rows]
    batch = processor(text=texts, images=images, padding=True, padding_side="left", return_tensors="pt")
    labels = batch["input_ids"].clone()
    for row, (_, _, completion) in enumerate(rows):
        labels[row, : -len(processor.tokenizer(completion + end).input_ids)] = -100
    return {**batch, "labels": labels}


def pretrain(
    output_dir: Path, vision_steps: int, steps: int, stop: int, learning_rate: float, seed: int
) -> None:
    """Train from nothing and save model (bfloat16) and processor to `output_dir`.

    Learning rate and mixture follow a plan of `steps` steps, of which the first `stop` are taken:
    descriptions fall from eight batches in ten to one in ten, questions make up the rest.
    """
    set_seed(seed)
    rng = random.Random(seed)
    processor = build_processor(seed)
    model = build_model(processor, seed).train()
    pretrain_vision(model, processor, rng, vision_steps)

    tower = {id(parameter) for parameter in model.model.visual.parameters()}
    language = [parameter for parameter in model.parameters() if id(parameter) not in tower]
    groups = [
        {"params": model.model.visual.parameters(), "lr": 0.3 * learning_rate},
        {"params": language, "lr": learning_rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 30) * max(0.1, 1 - step / steps)
    )
    progress = trange(stop, desc="whole model", unit="step")
    for step in progress:
        describe = rng.random() < 0.8 - 0.7 * step / steps
        rows = description_rows(rng, 32) if describe else question_rows(rng, 48)
        loss = model(**encode(processor, rows)).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        progress.set_postfix(loss=f"{loss.item():.3f}")
    model.to(torch.bfloat16).save_pretrained(output_dir)
    processor.save_pretrained(output_dir)
    logger.info("wrote %s", output_dir)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--vision_steps", type=int, default=150)
    parser.add_argument(
        "--steps", type=int, default=900, help="steps that learning rate and mixture are planned for"
    )
    parser.add_argument("--stop", type=int, default=900, help="steps taken")
    parser.add_argument("--learning_rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    pretrain(**vars(arguments))


if __name__ == "__main__":
    main()
