"""The vision tower of the Qwen-VL families: images as it takes them, and less time for the same."""

import functools
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel

from curr_reft.errors import InputError

FAMILIES = ("qwen2_vl", "qwen2_5_vl")
"""Whose language model gets an image as the embeddings of its tokens, placed by M-RoPE, and nothing else.
(Qwen3-VL, say, adds features to later layers.)"""

VISION_TOWER = r"(.*\.)?visual\..*"
"""The parts of the vision tower, its merger included, by their names in transformers 5."""

# transformers hands an implementation with "flash" in its name all windows at once, any other one by one.
_WINDOWS = "windows_like_flash"


def freeze_vision_tower(model: PreTrainedModel) -> None:
    """Keep the weights of a model's vision tower, its merger included, out of training.

    Raises:
        InputError: for a model without one under the name that the Qwen-VL families give it.
    """
    tower = getattr(model.base_model, "visual", None)
    if tower is None:
        raise InputError(
            f"--freeze_vision true: not known where {model.config.model_type} has its vision tower"
        )
    tower.requires_grad_(False)


def cut_into_patches(
    image_processor: Any, images: Sequence[Image.Image], **kwargs: Any
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each image's patches `[patches, values]`, and how many there are in time, height and width, `[3]`."""
    made = image_processor(list(images), **{**kwargs, "return_tensors": "pt"})
    grids = made["image_grid_thw"]
    return list(zip(made["pixel_values"].split(grids.prod(dim=1).tolist()), grids, strict=True))


def quicken(model: PreTrainedModel, on: bool = True) -> None:
    """Let a model's vision tower do the same in less time; `on` false takes it back.

    Convolutions over patches of the very size of their kernel are products with their flat weights, which on
    a CPU take a fifth of the time. Where attention is torch's sdpa, neighbouring windows of one size, and
    images of one size, attend in one call; no second model can be made from such a model's configuration.
    """
    for module in model.modules():
        if not isinstance(module, nn.Conv3d) or module.kernel_size != module.stride:
            continue
        if module.groups == 1 and not any(module.padding):
            # The module stays: it may be one that DeepSpeed has put hooks on.
            module.forward = functools.partial(_product if on else type(module).forward, module)
    if model.config.model_type not in FAMILIES:
        return
    AttentionInterface.register(_WINDOWS, window_attention)
    usual, wanted = ("sdpa", _WINDOWS) if on else (_WINDOWS, "sdpa")
    if model.config.vision_config._attn_implementation == usual:
        model.set_attn_implementation({"vision_config": wanted})


def _product(convolution: nn.Conv3d, patches: torch.Tensor) -> torch.Tensor:
    """Patches `[patches, channels, *kernel]` to embeddings `[patches, width, 1, 1, 1]`; volumes as ever."""
    if patches.shape[2:] != convolution.weight.shape[2:]:
        return nn.Conv3d.forward(convolution, patches)
    embeddings = functional.linear(patches.flatten(1), convolution.weight.flatten(1), convolution.bias)
    return embeddings[..., None, None, None]


def window_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    cu_seq_lens_q: torch.Tensor,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within windows, for transformers' interface.

    Args:
        query: `[1, heads, patches, head_dim]`, like keys and values.
        cu_seq_lens_q: Where windows begin, and where the last one ends, `[windows + 1]`.

    Returns:
        `[1, patches, heads, head_dim]`, and no weights.
    """
    runs = [(length, len(list(same))) for length, same in groupby(cu_seq_lens_q.diff().tolist())]
    sizes = [length * count for length, count in runs]
    pieces = zip(*(states[0].split(sizes, dim=1) for states in (query, key, value)), strict=True)
    outputs = []
    for (length, count), piece in zip(runs, pieces, strict=True):
        windows = (states.unflatten(1, (count, length)).transpose(0, 1) for states in piece)
        output = functional.scaled_dot_product_attention(*windows, dropout_p=dropout, scale=scaling)
        outputs.append(output.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)[None], None
