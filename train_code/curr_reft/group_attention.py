"""Attention of a packed sequence: prompts, and completions that each see their own prompt and themselves.

The layout of the sequence takes the place of the attention mask, so nothing of (tokens x tokens) is stored
and every part is a small attention of the kinds that kernels are fast at: a prompt sees itself, causally; a
completion sees its prompt whole and itself causally.
"""

from dataclasses import dataclass
from functools import cached_property
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
            return _one_token(query, key, value, attention_mask, kwargs["scaling"]), None
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)

    def attend(queries: slice, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None):
        return sdpa_attention_forward(module, query[:, :, queries], keys, values, mask, **kwargs)[0]

    outputs = []
    start = 0
    for group in attention_mask:
        prefix = slice(start, start + group.prefix)
        start = prefix.stop
        prefix_keys, prefix_values = key[:, :, prefix], value[:, :, prefix]
        if group.prefix:
            outputs.append(attend(prefix, prefix_keys, prefix_values, None))
        for length in filter(None, group.completions):
            own = slice(start, start + length)
            start = own.stop
            keys = torch.cat([prefix_keys, key[:, :, own]], dim=2)
            values = torch.cat([prefix_values, value[:, :, own]], dim=2)
            # A model spread over several GPUs has its layers on others than the first.
            mask = group.mask[:length, : group.prefix + length].to(query.device)
            outputs.append(attend(own, keys, values, mask))
    return torch.cat(outputs, dim=1), None


def _one_token(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Attention of a sampled token, whose heads that share keys stand in for as many tokens.

    Otherwise all keys and values would be copied for each of these heads, for each token.
    """
    rows, heads, _, width = query.shape
    grouped = query.reshape(rows, key.shape[1], heads // key.shape[1], width)
    output = functional.scaled_dot_product_attention(grouped, key, value, attn_mask=mask, scale=scale)
    return output.reshape(rows, 1, heads, width)


def use_group_attention(model: PreTrainedModel) -> None:
    """Let the language model attend by layouts; the vision tower keeps its implementation."""
    AttentionInterface.register(NAME, group_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation({"text_config": NAME})
