"""One forward pass for prompts and all their completions, each prompt computed once.

The completions of a group differ only after the prompt. The ordinary pass computes the prompt, image and
all, once for each of them; here it is one sequence. Of a prompt `p1 p2 p3` with completions `a1 a2 a3` and
`b1 b2`:

    tokens      p1 p2 | p3 a1 a2 | p3 b1
    predicts          | a1 a2 a3 | b1 b2
    positions    0  1 |  2  3  4 |  2  3

A completion starts with the last prompt token, which predicts its first one, and leaves out its own last
token, which predicts nothing. It sees the prompt and itself (`curr_reft.models.attention`), and its positions
go on where the prompt ended. Log-probabilities and gradients are those of the ordinary pass up to rounding.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from curr_reft.models.attention import GroupLayout, use_group_attention
from curr_reft.models.padded_rows import PaddedRow, groups_of
from curr_reft.models.vision_tower import FAMILIES


def pack(
    rows: Sequence[PaddedRow], rope_index: Callable[..., tuple[torch.Tensor, torch.Tensor]]
) -> dict[str, Any]:
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
    with_image = [row for row in firsts if row.pixel_values is not None]
    if with_image:
        inputs["pixel_values"] = torch.cat([row.pixel_values for row in with_image])
        inputs["image_grid_thw"] = torch.cat([row.image_grid_thw for row in with_image])
    return inputs


def unsupported_reason(model: PreTrainedModel) -> str | None:
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
