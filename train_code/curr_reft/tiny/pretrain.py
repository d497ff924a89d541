"""Rebuild the committed tiny base: ``python -m curr_reft.tiny.pretrain --output_dir DIR``.

Supervised training on easy pictures of the embedded world (fewer shapes than the curriculum shows), stopped
early, so that the base keeps the format, is often wrong, and still explores.
"""

import argparse
import logging
import random
from pathlib import Path

import torch
from tqdm import trange
from transformers import get_cosine_schedule_with_warmup, set_seed

from curr_reft.data.shapes import EASY, IN_DOMAIN, draw, sample_scene
from curr_reft.stages import STAGES
from curr_reft.tiny.model import QUESTIONS, build_model, build_processor, completion_text

logger = logging.getLogger(__name__)

STAGE_WEIGHTS = {"judge": 1, "choice": 1, "open": 2}


def sample_rows(rng: random.Random, count: int, hard_share: float) -> list[tuple]:
    """Draw `count` (picture, prompt, completion) triples of one stage, so that their lengths are alike.

    `hard_share` of them show curriculum-like pictures.
    """
    rows = []
    stage = rng.choices(list(STAGE_WEIGHTS), list(STAGE_WEIGHTS.values()))[0]
    while len(rows) < count:
        scene = sample_scene(rng, IN_DOMAIN if rng.random() < hard_share else EASY)
        image = draw(scene)
        for question in QUESTIONS[stage](rng, scene):
            prompt = STAGES[stage].prompt(question.task, question.problem)
            rows.append((image, prompt, completion_text(question.thought, question.answer)))
    return rows[:count]


def encode(processor, rows: list[tuple]) -> dict[str, torch.Tensor]:
    """Tokenise rows with labels on the completion alone (prompt and padding are -100)."""
    texts, completions = [], []
    for _, prompt, completion in rows:
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        turn = [{"role": "user", "content": content}]
        texts.append(
            processor.apply_chat_template(turn, add_generation_prompt=True) + completion + "<|im_end|>"
        )
        completions.append(len(processor.tokenizer(completion).input_ids) + 1)
    images = [image for image, _, _ in rows]
    batch = processor(text=texts, images=images, padding=True, padding_side="left", return_tensors="pt")
    labels = batch["input_ids"].clone()
    for row, length in enumerate(completions):
        labels[row, :-length] = -100
    return {**batch, "labels": labels}


def pretrain(
    output_dir: Path, steps: int, batch_size: int, learning_rate: float, hard_share: float, seed: int
) -> None:
    """Train from nothing and save model (bfloat16) and processor to `output_dir`."""
    set_seed(seed)
    processor = build_processor(seed)
    model = build_model(processor, seed).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = get_cosine_schedule_with_warmup(optimizer, steps // 20, steps)
    rng = random.Random(seed)
    progress = trange(steps, desc="pre-training", unit="step")
    for _ in progress:
        loss = model(**encode(processor, sample_rows(rng, batch_size, hard_share))).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
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
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch_size", type=int, default=48)
    parser.add_argument("--learning_rate", type=float, default=1.5e-3)
    parser.add_argument("--hard_share", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    pretrain(**vars(arguments))


if __name__ == "__main__":
    main()
