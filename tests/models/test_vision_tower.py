"""A quickened vision tower gives what transformers' own gives."""

import re

import pytest
import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLConfig
from transformers import Qwen2VLForConditionalGeneration as Qwen2VL

from curr_reft.models.vision_tower import quicken

TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 32,
    "vocab_size": 32,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
}
SHAPES = {
    "qwen2_5_vl": {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 32, "window_size": 112},
    "qwen2_vl": {"embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2},
}
IMAGES = {
    "one window": [(8, 8)],
    "windows cut off at two sides": [(20, 22)],
    "images of one size": [(6, 6), (6, 6), (6, 6)],
    "images of several sizes": [(2, 2), (10, 4), (10, 4), (18, 16), (2, 2)],
}


@pytest.fixture(params=SHAPES)
def model(request):
    vision = {"depth": 3, "num_heads": 2, **SHAPES[request.param]}
    torch.manual_seed(0)
    if request.param == "qwen2_vl":
        return Qwen2VL(Qwen2VLConfig(text_config=TEXT, vision_config=vision))
    vision["fullatt_block_indexes"] = [1]
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=TEXT, vision_config=vision))


def seen(model, grids):
    """Embeddings of images of noise, and the gradient that every weight of the tower gets."""
    random = torch.Generator().manual_seed(1)
    patches = torch.randn(sum(a * b for a, b in grids), 3 * 2 * 14 * 14, generator=random)
    embeddings = torch.cat(
        model.get_image_features(patches, torch.tensor([(1, *grid) for grid in grids])).pooler_output
    )
    model.zero_grad()
    (embeddings * torch.randn(embeddings.shape, generator=random)).sum().backward()
    return embeddings.detach(), {name: value.grad for name, value in model.model.visual.named_parameters()}


@pytest.mark.parametrize("grids", IMAGES.values(), ids=IMAGES)
def test_embeddings_and_gradients_are_transformers(grids, model, monkeypatch):
    expected, expected_gradients = seen(model, grids)
    calls = []
    attend = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *args, **kwargs: calls.append(args[0].shape) or attend(*args, **kwargs),
    )
    quicken(model)
    embeddings, gradients = seen(model, grids)
    torch.testing.assert_close(embeddings, expected, rtol=1e-5, atol=1e-5)
    for name, gradient in expected_gradients.items():
        assert (gradients[name] - gradient).norm() <= 1e-5 * max(gradient.norm(), 1.0), name
    if grids == IMAGES["images of one size"]:
        assert [tuple(shape) for shape in calls] == [(3, 2, 36, 16)] * 3

    quicken(model, on=False)
    again, _ = seen(model, grids)
    assert torch.equal(again, expected)


@pytest.mark.parametrize("model", ["qwen2_5_vl"], indirect=True)
def test_another_attention_is_kept(model):
    model.set_attn_implementation({"vision_config": "eager"})
    quicken(model)
    assert model.config.vision_config._attn_implementation == "eager"
    quicken(model, on=False)
    assert model.config.vision_config._attn_implementation == "eager"


@pytest.mark.parametrize("model", ["qwen2_5_vl"], indirect=True)
def test_a_saved_checkpoint_knows_nothing_of_it(model, tmp_path):
    quicken(model)
    model.save_pretrained(tmp_path)
    assert not re.search("windows|flash", (tmp_path / "config.json").read_text())
    loaded = Qwen2_5_VLForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.config.vision_config._attn_implementation == "sdpa"


def test_a_product_is_the_convolution_and_is_taken_back(model):
    convolution = model.model.visual.patch_embed.proj
    patches = torch.randn(5, 3, 2, 14, 14)
    expected = convolution(patches)
    quicken(model)
    product = convolution(patches)
    assert product.shape == expected.shape
    torch.testing.assert_close(product, expected, rtol=1e-5, atol=1e-5)
    quicken(model, on=False)
    assert torch.equal(convolution(patches), expected)
