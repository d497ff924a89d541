"""Products of a few rows with large weights, on all threads of a CPU.

A sampled token is one row for each completion. A product of so few rows gains next to nothing by a second
thread (seen with MKL). As a batch of products with blocks of the weights' rows it takes 0.4 to 0.8 of
the time with two threads, and about as long with one.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

# Measured with 2 threads: beyond these rows, and below these weights, blocks gain little or lose.
_MOST_ROWS = 16
_LEAST_WEIGHTS = 2**17
_BLOCKS = 16


@contextmanager
def thin_products(model: nn.Module) -> Iterator[None]:
    """Within, a model's linear layers multiply a few rows in blocks; for inference, in float32, on a CPU."""
    layers = [module for module in model.modules() if _gains(module)]
    for layer in layers:
        layer.forward = functools.partial(_in_blocks, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _gains(module: nn.Module) -> bool:
    # Adapters and quantized layers are other classes; some libraries wrap `forward` of single modules.
    if type(module) is not nn.Linear or "forward" in vars(module) or torch.get_num_threads() == 1:
        return False
    weight = module.weight
    fits = weight.numel() >= _LEAST_WEIGHTS and module.out_features % _BLOCKS == 0
    return fits and weight.device.type == "cpu" and weight.dtype == torch.float32


def _in_blocks(layer: nn.Linear, inputs: torch.Tensor) -> torch.Tensor:
    rows = inputs.shape[:-1].numel()
    if rows > _MOST_ROWS:
        return nn.Linear.forward(layer, inputs)
    blocks = layer.weight.view(_BLOCKS, -1, layer.in_features).transpose(1, 2)
    outputs = torch.bmm(inputs.reshape(1, rows, -1).expand(_BLOCKS, -1, -1), blocks)
    outputs = outputs.transpose(0, 1).reshape(*inputs.shape[:-1], layer.out_features)
    return outputs if layer.bias is None else outputs + layer.bias
