"""TRL's padded batches as rows of prompt and completion, and values of completions padded again."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Any

import torch
from trl.trainer.utils import split_pixel_values_by_grid


@dataclass(frozen=True)
class PaddedRow:
    """A prompt with one completion, without padding."""

    group: int
    """Neighbouring rows with the same number share prompt and images."""
    prompt: torch.Tensor
    """Token ids `[prompt]`."""
    completion: torch.Tensor
    """Token ids `[completion]`; may be empty."""
    token_types: torch.Tensor
    """1 where the prompt's token is an image's, `[prompt]`."""
    pixel_values: torch.Tensor | None
    """Patches of the prompt's images `[patches, patch size]`."""
    image_grid_thw: torch.Tensor | None
    """Patches of each image along time, height and width `[images, 3]`."""

    def same_prompt(self, other: "PaddedRow") -> bool:
        """Whether both rows ask the same about the same images."""
        if not torch.equal(self.prompt, other.prompt):
            return False
        if self.pixel_values is None or other.pixel_values is None:
            return self.pixel_values is other.pixel_values
        return torch.equal(self.image_grid_thw, other.image_grid_thw) and torch.equal(
            self.pixel_values, other.pixel_values
        )


def rows_of(
    input_ids: torch.Tensor, attention_mask: torch.Tensor, completion_length: int, fields: dict[str, Any]
) -> list[PaddedRow]:
    """The rows of a padded batch, numbered by prompt.

    Args:
        input_ids: `[rows, prompt + completion]`, prompts padded on the left, completions on the right.
        attention_mask: 1 where there is a token, of the same shape.
        completion_length: Columns that hold completions.
        fields: The batch's images as TRL keeps them: `pixel_values`, `image_grid_thw`, `num_images`,
            `mm_token_type_ids`, each possibly `None` or missing.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    images = split_pixel_values_by_grid(given) if "pixel_values" in given else {}
    token_types = given.get("mm_token_type_ids", torch.zeros_like(input_ids))
    rows: list[PaddedRow] = []
    for index, present in enumerate(attention_mask.bool()):
        prompt, completion = present.clone(), present.clone()
        prompt[-completion_length:] = False
        completion[:-completion_length] = False
        row = PaddedRow(
            group=index,
            prompt=input_ids[index, prompt],
            completion=input_ids[index, completion],
            token_types=token_types[index, prompt],
            pixel_values=images["pixel_values"][index] if images else None,
            image_grid_thw=images["image_grid_thw"][index] if images else None,
        )
        if rows and row.same_prompt(rows[-1]):
            row = replace(row, group=rows[-1].group)
        rows.append(row)
    return rows


def groups_of(rows: Iterable[PaddedRow]) -> list[list[PaddedRow]]:
    """Rows in a row that share a prompt, together."""
    return [list(group) for _, group in groupby(rows, key=attrgetter("group"))]


def padded(values: torch.Tensor, completion_mask: torch.Tensor) -> torch.Tensor:
    """Put all completions' values in order, `[tokens]`, where the mask `[rows, longest]` is 1; else 0."""
    return values.new_zeros(completion_mask.shape).masked_scatter(completion_mask.bool(), values)
