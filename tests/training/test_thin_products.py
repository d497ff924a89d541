"""Products in blocks of the weights are the products, and are taken where they gain."""

import pytest
import torch
from torch import nn

from curr_reft.training.thin_products import thin_products


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def products(monkeypatch):
    """Shapes of the batches of products that were taken."""
    shapes = []
    bmm = torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda *args: shapes.append(tuple(args[0].shape)) or bmm(*args))
    return shapes


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 256), (16, 256), (4, 1, 256), (2, 3, 256)])
@torch.no_grad()
def test_blocks_give_the_product(shape, bias, two_threads, products):
    torch.manual_seed(0)
    layer, inputs = nn.Linear(256, 512, bias=bias), torch.randn(shape)
    expected = layer(inputs)
    with thin_products(nn.Sequential(layer)):
        actual = layer(inputs)
    assert len(products) == 1
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    assert "forward" not in vars(layer)
    assert torch.equal(layer(inputs), expected)
    assert len(products) == 1


class Adapted(nn.Linear):
    """A layer of another class."""


def wrapped(layer):
    layer.forward = layer.forward
    return layer


OTHERS = {
    "many rows": (lambda: nn.Linear(256, 512), torch.float32, 17),
    "small weights": (lambda: nn.Linear(128, 512), torch.float32, 4),
    "another size of blocks": (lambda: nn.Linear(512, 520), torch.float32, 4),
    "bfloat16": (lambda: nn.Linear(256, 512, dtype=torch.bfloat16), torch.bfloat16, 4),
    "another class": (lambda: Adapted(256, 512), torch.float32, 4),
    "a wrapped forward": (lambda: wrapped(nn.Linear(256, 512)), torch.float32, 4),
}


@pytest.mark.parametrize(("make", "dtype", "rows"), OTHERS.values(), ids=OTHERS)
@torch.no_grad()
def test_others_are_left_alone(make, dtype, rows, two_threads, products):
    layer = make()
    inputs = torch.randn(rows, layer.in_features, dtype=dtype)
    expected, own = layer(inputs), vars(layer).get("forward")
    with thin_products(layer):
        assert torch.equal(layer(inputs), expected)
    assert not products
    assert vars(layer).get("forward") == own


def test_one_thread_gains_nothing(products):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with thin_products(layer := nn.Linear(256, 512)), torch.no_grad():
            layer(torch.randn(4, 256))
    finally:
        torch.set_num_threads(before)
    assert not products


def test_layers_are_given_back_after_an_error(two_threads):
    layer = nn.Linear(256, 512)
    with pytest.raises(RuntimeError, match="stop"), thin_products(layer):
        raise RuntimeError("stop")
    assert "forward" not in vars(layer)
