"""Attention of a packed sequence: prompts, and completions that each see their own prompt and themselves.

The layout of the sequence takes the place of the attention mask, so nothing of (tokens x tokens) is stored
and every part is a small attention of the kinds that kernels are fast at: a prompt sees itself, causally; a
completion sees its prompt whole and itself causally.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "shared_prefix"


@dataclass(frozen=True)
class GroupLayout:
    """A prompt and the completions that follow it in a packed sequence, in tokens."""

    prefix: int
    """The prompt without its last token, which each completion starts with."""
    completions: tuple[int, ...]
    device: torch.device

    @cached_property
    def mask(self) -> torch.Tensor:
        """What the longest completion sees of prompt and itself, bool `[longest, prefix + longest]`.

        That of a shorter one is its upper left corner.
        """
        longest = max(self.completions)
        everything = torch.ones(longest, self.prefix + longest, dtype=torch.bool, device=self.device)
        return everything.tril(self.prefix)


def group_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | list[GroupLayout] | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention for transformers' interface; given a mask or none instead of layouts, it is sdpa.

    Args:
        query: `[1, heads, tokens, head_dim]`; keys and values may have fewer heads.
        attention_mask: The groups of the sequence, in order, together as long as it is.

    Returns:
        `[1, tokens, heads, head_dim]`, and no weights.
    """
    if not isinstance(attention_mask, list):
        if query.shape[2] == 1:
            return _attend(query, key, value, attention_mask, **kwargs), None
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)

    lengths = [length for group in attention_mask for length in (group.prefix, *group.completions)]
    pieces = zip(*(states.split(lengths, dim=2) for states in (query, key, value)), strict=True)
    outputs = []
    for group in attention_mask:
        prefix = next(pieces)
        if group.prefix:
            outputs.append(sdpa_attention_forward(module, *prefix, None, **kwargs)[0])
        for own_query, *own in islice(pieces, len(group.completions)):
            if length := own_query.shape[2]:
                keys, values = (torch.cat(states, dim=2) for states in zip(prefix[1:], own, strict=True))
                # A model spread over several GPUs has its layers on others than the first.
                mask = group.mask[:length, : group.prefix + length].to(query.device)
                outputs.append(_attend(own_query, keys, values, mask, **kwargs))
    return torch.cat(outputs, dim=1), None


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> torch.Tensor:
    """Attention under a mask, in which heads that share keys stand in for as many tokens.

    Otherwise sdpa would be given a copy of all keys and values for each of these heads.
    """
    rows, heads, tokens, width = query.shape
    shared = key.shape[1]
    if mask is not None and tokens > 1:
        mask = mask.repeat(heads // shared, 1)
    output = functional.scaled_dot_product_attention(
        query.reshape(rows, shared, -1, width), key, value, attn_mask=mask, dropout_p=dropout, scale=scaling
    )
    return output.reshape(rows, heads, tokens, width).transpose(1, 2)


def use_group_attention(model: PreTrainedModel) -> None:
    """Let the language model attend by layouts; the vision tower keeps its implementation."""
    AttentionInterface.register(NAME, group_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation({"text_config": NAME})
