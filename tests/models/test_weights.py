"""Weights that are not what the configuration asks for are refused, before anything is loaded."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from curr_reft.errors import InputError
from curr_reft.models.adapters import check_adapter, weights_fault
from curr_reft.models.weights import check_finite, load, skeleton

FIRST = "model.layers.0.mlp.gate_proj.weight"


@pytest.fixture
def changed(tiny_base, tmp_path):
    """A copy of the tiny base with its weights, by name, changed."""

    def make(change=None, edit=None) -> Path:
        folder = tmp_path / "changed"
        shutil.copytree(tiny_base, folder)
        if change is not None:
            weights = change(load_file(folder / "model.safetensors"))
            save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        if edit is not None:
            edit(folder)
        return folder

    return make


def renamed(old: str, new: str):
    return lambda weights: {name.replace(old, new, 1): weight for name, weight in weights.items()}


def prefixed(prefix: str):
    return lambda weights: {f"{prefix}{name}": weight for name, weight in weights.items()}


def without(*names: str):
    return lambda weights: {name: weight for name, weight in weights.items() if name not in names}


def filled(value: float):
    def change(weights):
        weights[FIRST].view(-1)[5] = value
        return weights

    return change


def untied(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(config))


def in_shards(folder: Path, drop: str | None = None, misplaced: bool = False) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
    places = {name: file for file, part in parts.items() for name in part}
    if misplaced:
        places[names[0]] = "b.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    if drop:
        (folder / drop).unlink()


def with_a_layer_less(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] -= 1
    config["text_config"].pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps(config))


def as_bin(change):
    def edit(folder: Path) -> None:
        path = folder / "pytorch_model.bin"
        torch.save(load_file(folder / "model.safetensors"), path)
        path.write_bytes(change(path.read_bytes()))
        (folder / "model.safetensors").unlink()

    return edit


def as_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def cut(folder: Path, size: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    ("change", "edit", "said"),
    [
        (without(FIRST), None, "1 of the model's weights are missing"),
        (prefixed("module."), None, "such as module."),
        (prefixed("_orig_mod."), None, "such as _orig_mod."),
        (renamed("visual.", "vision_tower."), None, "42 have names of no part of it, such as vision_tower."),
        (None, with_a_layer_less, "no part of the model that config.json describes, such as model."),
        (None, as_bin(lambda data: data[: len(data) // 2]), "the weights cannot be loaded"),
        (None, as_bin(lambda data: b""), "the weights cannot be loaded (EOFError)"),
        (None, lambda folder: as_a_folder(folder / "model.safetensors"), "not written to the end, or no"),
        (None, lambda folder: as_a_folder(folder / "config.json"), "the weights cannot be loaded"),
        (None, untied, "missing, such as lm_head.weight"),
        (lambda weights: {**weights, FIRST: weights[FIRST][1:].clone()}, None, "of another shape"),
        (None, lambda folder: cut(folder, 100_000), "not written to the end"),
        (None, lambda folder: cut(folder, 0), "not written to the end"),
        (None, lambda folder: in_shards(folder, drop="b.safetensors"), "missing, such as b.safetensors"),
        (None, lambda folder: in_shards(folder, misplaced=True), "b.safetensors does not hold"),
    ],
)
def test_what_is_missing_is_named(change, edit, said, changed):
    with pytest.raises(InputError) as caught:
        skeleton(changed(change, edit), "--model")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_named(value, changed):
    folder = changed(filled(value))
    skeleton(folder, "--model")
    for read in (check_finite, load):
        with pytest.raises(InputError, match=r"gate_proj\.weight holds NaN or infinite values"):
            read(folder, "--model")


def test_weights_of_eight_bits_are_looked_at_as_well(changed):
    def in_eight_bits(weights):
        return {**weights, FIRST: filled(float("nan"))(weights)[FIRST].to(torch.float8_e4m3fn)}

    with pytest.raises(InputError, match=r"gate_proj\.weight holds NaN"):
        check_finite(changed(in_eight_bits), "--model")


@pytest.mark.parametrize("edit", [None, in_shards, as_bin(lambda data: data)])
def test_whole_weights_are_taken_and_not_read(edit, changed):
    folder = changed(edit=edit)
    assert {weight.device.type for weight in skeleton(folder, "--model").parameters()} == {"meta"}
    check_finite(folder, "--model")
    assert load(folder, "--model").get_input_embeddings().weight.isfinite().all()


@pytest.fixture
def adapter(tiny_base, tmp_path):
    model = AutoModelForImageTextToText.from_pretrained(tiny_base)
    folder = tmp_path / "adapter"
    get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"])).save_pretrained(folder)
    return folder


def test_an_adapter_is_called_one(adapter):
    with pytest.raises(InputError, match=r"an adapter .* not whole weights"):
        skeleton(adapter, "--model")


def test_an_adapters_weights_are_compared_with_its_configuration(adapter, tiny_base):
    check_adapter(adapter, skeleton(tiny_base, "--model"), "--model")
    assert weights_fault(adapter, tiny_base) is None
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    name = min(weights)
    save_file(without(name)(weights), path)
    assert f"such as {name}" in weights_fault(adapter, tiny_base)
    save_file({**weights, name: torch.zeros(1, 1)}, path)
    assert f"such as {name}" in weights_fault(adapter, tiny_base)
    path.unlink()
    assert "the adapter cannot be loaded" in weights_fault(adapter, tiny_base)


@pytest.mark.parametrize("text", ["", "{}", '{"peft_type": "NONE"}'])
def test_an_adapter_without_a_configuration_is_none(text, adapter, tiny_base):
    (adapter / "adapter_config.json").write_text(text)
    assert weights_fault(adapter, tiny_base).startswith(f"its adapter {adapter}: ")
