"""Attention by layouts against the attention that transformers would use."""

from types import SimpleNamespace

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from curr_reft.models.attention import GroupLayout, group_attention

MODULE = SimpleNamespace(num_key_value_groups=4, is_causal=True)


def states(tokens, keys, rows=1):
    torch.manual_seed(0)
    return (torch.randn(rows, 8, tokens, 16), torch.randn(rows, 2, keys, 16), torch.randn(rows, 2, keys, 16))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("tokens", [1, 5])
def test_without_a_layout_it_is_ordinary_attention(tokens, masked):
    query, key, value = states(tokens, 9, rows=3)
    mask = None
    if masked:
        mask = torch.ones(3, 1, tokens, 9, dtype=torch.bool)
        mask[1, :, :, :4] = False
    expected, _ = sdpa_attention_forward(MODULE, query, key, value, mask, scaling=0.25)
    actual, _ = group_attention(MODULE, query, key, value, mask, scaling=0.25)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize(
    "groups", [[(3, (2, 4))], [(0, (3, 1))], [(4, (0, 0))], [(2, (1,)), (5, (3, 0, 2)), (1, (4,))]]
)
def test_a_layout_is_a_mask_of_tokens_by_tokens(groups):
    layouts = [GroupLayout(prefix, completions, torch.device("cpu")) for prefix, completions in groups]
    total = sum(prefix + sum(completions) for prefix, completions in groups)
    mask = torch.zeros(total, total, dtype=torch.bool)
    start = 0
    for prefix, completions in groups:
        first, start = start, start + prefix
        mask[first:start, first:start] = True
        for length in completions:
            mask[start : start + length, first : first + prefix] = True
            mask[start : start + length, start : start + length] = True
            start += length
    mask = mask.tril()[None, None]
    query, key, value = states(total, total)
    expected, _ = sdpa_attention_forward(MODULE, query, key, value, mask, scaling=0.25)
    actual, _ = group_attention(MODULE, query, key, value, layouts, scaling=0.25)
    torch.testing.assert_close(actual, expected)
