"""Padded batches of made-up prompts, row_images and completions, in the form GRPO's loss takes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

PATCH = 3 * 2 * 14 * 14
WORDS = 300
"""Token ids below this are words; the special ones of the tiny base are above."""


@dataclass(frozen=True)
class Question:
    """A prompt and the lengths of its completions."""

    words: int
    images: tuple[tuple[int, int], ...]
    """Patches of each image along height and width, even numbers."""
    completions: tuple[int, ...]


def padded_batch(questions: Sequence[Question], image_token: int, seed: int = 0) -> dict[str, Any]:
    """Prompts padded on the left, completions on the right, and advantages, for `_compute_loss`."""
    random = torch.Generator().manual_seed(seed)

    def words(count: int) -> torch.Tensor:
        return torch.randint(0, WORDS, (count,), generator=random)

    prompts, completions, pixels, grids, num_images = [], [], [], [], []
    for question in questions:
        patches = [height * width for height, width in question.images]
        row_images = [torch.randn(count, PATCH, generator=random) for count in patches]
        tokens = [words(2)]
        for image in row_images:
            tokens += [torch.full((len(image) // 4,), image_token), words(1)]
        prompt = torch.cat([*tokens, words(question.words)])
        for length in question.completions:
            prompts.append(prompt)
            completions.append(words(length))
            pixels += row_images
            grids += [[1, *size] for size in question.images]
            num_images.append(len(row_images))
    longest = max(map(len, prompts))
    width = max(1, *map(len, completions))
    prompt_ids, prompt_mask = _pad(prompts, longest, left=True)
    completion_ids, completion_mask = _pad(completions, width, left=False)
    batch = {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_ids,
        "completion_mask": completion_mask,
        "advantages": torch.randn(len(prompts), generator=random),
        "ref_per_token_logps": 0.3 * torch.randn(completion_ids.shape, generator=random),
    }
    if pixels:
        images = torch.cat([prompt_ids == image_token, torch.zeros_like(completion_ids).bool()], dim=1)
        batch |= {
            "pixel_values": torch.cat(pixels),
            "image_grid_thw": torch.tensor(grids),
            "num_images": num_images,
            "mm_token_type_ids": images.long(),
        }
    return batch


def _pad(rows: Sequence[torch.Tensor], length: int, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        places = slice(length - len(row), length) if left else slice(0, len(row))
        ids[index, places], mask[index, places] = row, 1
    return ids, mask


def scored(batch: dict[str, Any]) -> dict[str, Any]:
    """What `_get_per_token_logps_and_entropies` takes of a batch, besides the model."""
    row_images = ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")
    return {
        "input_ids": torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
        "attention_mask": torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
        "logits_to_keep": batch["completion_ids"].shape[1],
        **{name: batch[name] for name in row_images if name in batch},
    }
