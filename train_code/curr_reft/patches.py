"""Pictures cut into patches, and their embeddings as a product of matrices."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.nn import functional


def cut_into_patches(
    image_processor: Any, pictures: Sequence[Image.Image], **kwargs: Any
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each picture's patches `[patches, values]`, and how many there are in time, height and width, `[3]`."""
    made = image_processor(list(pictures), **{**kwargs, "return_tensors": "pt"})
    grids = made["image_grid_thw"]
    return list(zip(made["pixel_values"].split(grids.prod(dim=1).tolist()), grids, strict=True))


def _product(convolution: nn.Conv3d, patches: torch.Tensor) -> torch.Tensor:
    """Patches `[patches, channels, *kernel]` to embeddings `[patches, width]`; volumes as ever."""
    if patches.shape[2:] != convolution.weight.shape[2:]:
        return nn.Conv3d.forward(convolution, patches)
    return functional.linear(patches.flatten(1), convolution.weight.flatten(1), convolution.bias)


def multiply_patches(model: nn.Module, multiply: bool = True) -> None:
    """Let convolutions over patches of the very size of their kernel be products with their flat weights.

    That is what they are; on a CPU it takes a fifth of a convolution's time. `multiply` false takes it back.
    """
    for module in model.modules():
        if not isinstance(module, nn.Conv3d) or module.kernel_size != module.stride:
            continue
        if module.groups == 1 and not any(module.padding):
            # The module stays: it may be one that DeepSpeed has put hooks on.
            module.forward = functools.partial(_product if multiply else type(module).forward, module)
