"""An adapter and its base as one checkpoint: the same model, whole or not there; faults in one line."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from curr_reft.data.prompts import render_prompt
from curr_reft.errors import InputError
from curr_reft.files.manifest import read_manifest
from curr_reft.models.checkpoints import checkpoint_at, recorded_box_frame
from curr_reft.models.merge import main, merge, merged_start
from curr_reft.models.processor import load_processor

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def adapter(tiny_base, tmp_path):
    """An adapter that changes all answers, of language model and vision tower."""
    torch.manual_seed(5)
    model = AutoModelForImageTextToText.from_pretrained(tiny_base)
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj", "qkv"], init_lora_weights=False)
    folder = tmp_path / "adapter"
    get_peft_model(model, config).save_pretrained(folder)
    return folder


@torch.inference_mode()
def logits(model, folder):
    processor = load_processor(str(folder))
    image = Image.linear_gradient("L").resize((84, 56)).convert("RGB")
    text = render_prompt(processor, "Where is the red circle?")
    return model.eval()(**processor(text=[text], images=[image], return_tensors="pt")).logits


def test_a_merged_checkpoint_is_the_adapted_model(adapter, tiny_base, tmp_path):
    out = tmp_path / "new/merged"
    main([str(adapter), str(out)])
    base = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32)
    plain = logits(base, tiny_base)
    adapted = logits(PeftModel.from_pretrained(base, adapter), tiny_base)
    merged = logits(AutoModelForImageTextToText.from_pretrained(out, dtype=torch.float32), out)
    assert (plain - adapted).abs().max() > 0.1
    torch.testing.assert_close(merged, adapted, rtol=0, atol=1e-5)
    assert load_file(out / "model.safetensors").keys() == load_file(tiny_base / "model.safetensors").keys()
    names = {path.name for path in tiny_base.iterdir()}
    assert {path.name for path in out.iterdir()} == {*names, "manifest.json"}
    record = read_manifest(out)
    assert (record["status"], record["stage"], record["dtype"]) == ("finished", "merge", "float32")
    assert record["adapter"]["path"] == str(adapter)
    assert record["adapter"]["base"] == str(tiny_base)
    assert checkpoint_at(out).repetition_penalty() == checkpoint_at(tiny_base).repetition_penalty()


def test_the_frame_of_boxes_and_the_processor_are_the_adapters(adapter, tmp_path, tiny_base):
    (adapter / "manifest.json").write_text('{"status": "finished", "config": {"box_frame": "processed"}}')
    for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny_base / name, adapter)
    config = json.loads((adapter / "processor_config.json").read_text())
    config["image_processor"]["size"]["longest_edge"] = 28 * 28 * 10
    (adapter / "processor_config.json").write_text(json.dumps(config))
    merge(adapter, tmp_path / "out", dtype="bfloat16")
    assert recorded_box_frame(checkpoint_at(tmp_path / "out")) == "processed"
    assert load_processor(str(tmp_path / "out")).image_processor.size["longest_edge"] == 28 * 28 * 10
    stored = load_file(tmp_path / "out/model.safetensors").values()
    assert {weight.dtype for weight in stored} == {torch.bfloat16}


def with_base(adapter, base) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": str(base)}))


def test_a_base_that_moved_is_named(adapter, tiny_base, tmp_path, refused):
    with_base(adapter, "/gone/for/good")
    error = refused(lambda: main([str(adapter), str(tmp_path / "out")]))
    assert "its base model /gone/for/good is not on this machine; merge the two with" in error
    main([str(adapter), str(tmp_path / "out"), "--base", str(tiny_base)])
    assert read_manifest(tmp_path / "out")["adapter"]["base"] == str(tiny_base)
    error = refused(lambda: main([str(adapter), str(tmp_path / "out2"), "--base", str(tmp_path / "no")]))
    assert "no: no such directory" in error


def test_an_adapter_of_a_shallow_base_is_refused(adapter, shallow_base, tmp_path, refused):
    error = refused(lambda: main([str(adapter), str(tmp_path / "out"), "--base", str(shallow_base)]))
    assert f"; the base is {shallow_base}\n" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_is_no_adapter_is_refused(tiny_base, tmp_path, refused):
    for folder in (tiny_base, tmp_path, tmp_path / "no"):
        assert "no adapter (PEFT)" in refused(
            lambda folder=folder: main([str(folder), str(tmp_path / "out")])
        )


def test_nothing_is_written_over(adapter, tmp_path, refused):
    out = tmp_path / "out"
    out.mkdir()
    (out / "note.txt").write_text("mine")
    assert "is there already" in refused(lambda: main([str(adapter), str(out)]))
    assert "is there already" in refused(lambda: main([str(adapter), str(out / "note.txt")]))
    assert (out / "note.txt").read_text() == "mine"
    (out / "note.txt").unlink()
    main([str(adapter), str(out)])
    assert (out / "model.safetensors").is_file()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(value, adapter, tmp_path):
    weights = load_file(adapter / WEIGHTS)
    next(iter(weights.values())).view(-1)[3] = value
    save_file(weights, adapter / WEIGHTS)
    with pytest.raises(InputError, match="holds NaN or infinite values"):
        merge(adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_sum_too_large_for_its_type_is_refused(adapter, tmp_path):
    weights = load_file(adapter / WEIGHTS)
    save_file({name: weight * 3e4 for name, weight in weights.items()}, adapter / WEIGHTS)
    with pytest.raises(InputError, match="holds NaN or infinite values"):
        merge(adapter, tmp_path / "out", dtype="float16")


def test_an_interrupted_merge_leaves_nothing(adapter, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    before = set(tmp_path.rglob("*"))
    monkeypatch.setattr("curr_reft.models.merge.shutil.copyfile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        merge(adapter, tmp_path / "out")
    assert set(tmp_path.rglob("*")) == before


def test_a_run_merges_anew_until_it_has_a_checkpoint(adapter, tmp_path):
    folder = merged_start(adapter, tmp_path, None, "--model")
    first = load_file(folder / "model.safetensors")
    weights = load_file(adapter / WEIGHTS)
    save_file({name: weight * 2 for name, weight in weights.items()}, adapter / WEIGHTS)
    assert merged_start(adapter, tmp_path, tmp_path / "checkpoint-2", "--model") == folder
    again = load_file(folder / "model.safetensors")
    assert all(torch.equal(first[name], again[name]) for name in first)
    merged_start(adapter, tmp_path, None, "--model")
    anew = load_file(folder / "model.safetensors")
    assert not all(torch.equal(first[name], anew[name]) for name in first)
    shutil.rmtree(folder)
    with pytest.raises(InputError, match=r"merged_start: gone, and .*checkpoint-2 belongs to it"):
        merged_start(adapter, tmp_path, tmp_path / "checkpoint-2", "--model")
