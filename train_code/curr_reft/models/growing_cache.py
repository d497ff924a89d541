"""Keys and values of a growing answer, with room for the next tokens.

transformers' own cache copies all keys and values of all rows for each token, a third of what a token takes a
small model on a CPU.
"""

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

_ROOM = 32
"""Tokens that there is room for after each copy."""


class GrowingLayer(DynamicLayer):
    """A layer of a cache that goes on where `layer` stands."""

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.keys, self.values = self._stored = layer.keys, layer.values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add states `[rows, heads, tokens, width]`, and return those of all tokens."""
        start, tokens = self.keys.shape[-2], key_states.shape[-2]
        if start + tokens > self._stored[0].shape[-2]:
            room = tokens + _ROOM
            self._stored = tuple(
                torch.cat([states, states.new_empty((*states.shape[:2], room, states.shape[3]))], dim=2)
                for states in (self.keys, self.values)
            )
        for stored, states in zip(self._stored, (key_states, value_states), strict=True):
            stored[:, :, start : start + tokens] = states
        self._show(start + tokens)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Go on with these rows."""
        self._stored = tuple(stored[indices] for stored in self._stored)
        self._show(self.keys.shape[-2])

    def _show(self, tokens: int) -> None:
        self.keys, self.values = (stored[:, :, :tokens] for stored in self._stored)


def let_grow(cache: Cache) -> None:
    """Give room to the layers of a filled cache that keep all tokens; others stay as they are."""
    cache.layers = [GrowingLayer(layer) if type(layer) is DynamicLayer else layer for layer in cache.layers]
