"""One forward pass for prompts and all their completions, each prompt computed once.

The completions of a group differ only after the prompt. The ordinary pass computes the prompt, picture and
all, once for each of them; here it is one sequence. Of a prompt `p1 p2 p3` with completions `a1 a2 a3` and
`b1 b2`:

    tokens      p1 p2 | p3 a1 a2 | p3 b1
    predicts          | a1 a2 a3 | b1 b2
    positions    0  1 |  2  3  4 |  2  3

A completion starts with the last prompt token, which predicts its first one, and leaves out its own last
token, which predicts nothing. It sees the prompt and itself (`curr_reft.group_attention`), and its positions
go on where the prompt ended. Log-probabilities and gradients are those of the ordinary pass up to rounding.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from trl.trainer.utils import split_pixel_values_by_grid

from curr_reft.group_attention import GroupLayout, use_group_attention
from curr_reft.vision_tower import FAMILIES


@dataclass(frozen=True)
class Row:
    """A prompt with one completion, without padding."""

    group: int
    """Neighbouring rows with the same number share prompt and pictures."""
    prompt: torch.Tensor
    """Token ids `[prompt]`."""
    completion: torch.Tensor
    """Token ids `[completion]`; may be empty."""
    token_types: torch.Tensor
    """1 where the prompt's token is a picture's, `[prompt]`."""
    pixel_values: torch.Tensor | None
    """Patches of the prompt's pictures `[patches, patch size]`."""
    image_grid_thw: torch.Tensor | None
    """Patches of each picture along time, height and width `[pictures, 3]`."""

    def same_prompt(self, other: "Row") -> bool:
        """Whether both rows ask the same about the same pictures."""
        if not torch.equal(self.prompt, other.prompt):
            return False
        if self.pixel_values is None or other.pixel_values is None:
            return self.pixel_values is other.pixel_values
        return torch.equal(self.image_grid_thw, other.image_grid_thw) and torch.equal(
            self.pixel_values, other.pixel_values
        )


def rows_of(
    input_ids: torch.Tensor, attention_mask: torch.Tensor, completion_length: int, fields: dict[str, Any]
) -> list[Row]:
    """The rows of a padded batch, numbered by prompt.

    Args:
        input_ids: `[rows, prompt + completion]`, prompts padded on the left, completions on the right.
        attention_mask: 1 where there is a token, of the same shape.
        completion_length: Columns that hold completions.
        fields: The batch's pictures as TRL keeps them: `pixel_values`, `image_grid_thw`, `num_images`,
            `mm_token_type_ids`, each possibly `None` or missing.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    pictures = split_pixel_values_by_grid(given) if "pixel_values" in given else {}
    token_types = given.get("mm_token_type_ids", torch.zeros_like(input_ids))
    rows: list[Row] = []
    for index, present in enumerate(attention_mask.bool()):
        prompt, completion = present.clone(), present.clone()
        prompt[-completion_length:] = False
        completion[:-completion_length] = False
        row = Row(
            group=index,
            prompt=input_ids[index, prompt],
            completion=input_ids[index, completion],
            token_types=token_types[index, prompt],
            pixel_values=pictures["pixel_values"][index] if pictures else None,
            image_grid_thw=pictures["image_grid_thw"][index] if pictures else None,
        )
        if rows and row.same_prompt(rows[-1]):
            row = replace(row, group=rows[-1].group)
        rows.append(row)
    return rows


def groups_of(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows in a row that share a prompt, together."""
    return [list(group) for _, group in groupby(rows, key=attrgetter("group"))]


def pack(rows: Sequence[Row], rope_index: Callable[..., tuple[torch.Tensor, torch.Tensor]]) -> dict[str, Any]:
    """The model's inputs for one sequence of these rows, what it predicts (`shift_labels`) and where.

    Args:
        rope_index: The model's `get_rope_index`, which gives a prompt its M-RoPE positions `[3, 1, prompt]`
            and by how much the position after it differs from its length.
    """
    ids, positions, predicts, layouts, firsts = [], [], [], [], []
    for group in groups_of(rows):
        first = group[0]
        prompt = first.prompt
        prompt_positions, delta = rope_index(
            prompt[None], mm_token_type_ids=first.token_types[None], image_grid_thw=first.image_grid_thw
        )
        ids.append(prompt[:-1])
        positions.append(prompt_positions[:, 0, :-1])
        predicts.append(torch.zeros_like(prompt[:-1], dtype=torch.bool))
        for row in group:
            length = len(row.completion)
            after = torch.arange(len(prompt), len(prompt) + length, device=prompt.device) + delta[0]
            ids.append(torch.cat([prompt[-1:], row.completion])[:length])
            positions.append(torch.cat([prompt_positions[:, 0, -1:], after.expand(3, -1)], 1)[:, :length])
            predicts.append(torch.ones_like(row.completion, dtype=torch.bool))
        lengths = tuple(len(row.completion) for row in group)
        layouts.append(GroupLayout(len(prompt) - 1, lengths, prompt.device))
        firsts.append(first)
    inputs = {
        "input_ids": torch.cat(ids)[None],
        "position_ids": torch.cat(positions, dim=1)[:, None],
        "attention_mask": {"full_attention": layouts},
        "shift_labels": torch.cat([row.completion for row in rows])[None],
        "predicts": torch.cat(predicts),
    }
    pictured = [row for row in firsts if row.pixel_values is not None]
    if pictured:
        inputs["pixel_values"] = torch.cat([row.pixel_values for row in pictured])
        inputs["image_grid_thw"] = torch.cat([row.image_grid_thw for row in pictured])
    return inputs


def obstacle(model: PreTrainedModel) -> str | None:
    """Why this model cannot compute a group in one pass, or `None`."""
    config = model.config
    if config.model_type not in FAMILIES:
        return f"{config.model_type} models have other positions and masks than {' and '.join(FAMILIES)}"
    if set(config.get_text_config().layer_types) != {"full_attention"}:
        return "its sliding-window layers would count another completion's tokens into the window"
    return None


def add_packed_forward(model: PreTrainedModel) -> None:
    """Teach a model with TRL's fused head to take `packs`: the inputs of sequences, all in one call.

    One call, because distributed training counts on one forward of the wrapped model for each backward. With
    several packs each is computed again in the backward pass, so only one is held in memory at a time. The
    head is given the states that predict (`shift_labels` of all packs, joined), and is not computed again:
    under ZeRO-3 its weight is gathered by TRL's head alone, which a recomputed copy of it cannot be.
    """
    use_group_attention(model)
    backbone = model.base_model
    ordinary = backbone.forward

    def predicting_states(pack: dict[str, Any]) -> torch.Tensor:
        inputs = {name: value for name, value in pack.items() if name not in ("predicts", "shift_labels")}
        states = ordinary(**inputs, use_cache=False).last_hidden_state
        return states[:, pack["predicts"].to(states.device)]

    @functools.wraps(ordinary)
    def forward(*args: Any, packs: Sequence[dict] | None = None, **kwargs: Any) -> Any:
        if packs is None:
            return ordinary(*args, **kwargs)
        compute = predicting_states
        if len(packs) > 1 and torch.is_grad_enabled():
            compute = functools.partial(checkpoint, predicting_states, use_reentrant=False)
        return BaseModelOutput(last_hidden_state=torch.cat([compute(pack) for pack in packs], dim=1))

    backbone.forward = forward


def unpack(values: torch.Tensor, completion_mask: torch.Tensor) -> torch.Tensor:
    """Put all completions' values in order, `[tokens]`, where the mask `[rows, longest]` is 1; else 0."""
    return values.new_zeros(completion_mask.shape).masked_scatter(completion_mask.bool(), values)
