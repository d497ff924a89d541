"""Supervised fine-tuning from an adapter, with a stand-in for ms-swift: it is merged first."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from curr_reft.files.manifest import read_manifest
from curr_reft.sft.training import run_sft


@pytest.fixture
def adapter(tiny_base, tmp_path):
    """An adapter of the tiny base, as a stage leaves one."""
    model = AutoModelForImageTextToText.from_pretrained(tiny_base)
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(tmp_path / "stage3_open")
    manifest = {"status": "finished", "config": {"box_frame": "processed"}}
    (tmp_path / "stage3_open/manifest.json").write_text(json.dumps(manifest))
    return tmp_path / "stage3_open"


def test_an_adapter_is_merged_first(adapter, swift, sft_flags, tmp_path, tiny_base, capsys):
    folder = swift(more="exit 1")
    run_sft("reject_sft", sft_flags("--model", str(adapter), "--dry_run"))
    told = capsys.readouterr().out
    merged = tmp_path / "run/merged_start"
    assert f"the adapter {adapter} is merged into {tiny_base} first, to {merged}" in told
    assert f"--model {merged} " in told
    assert not (tmp_path / "run").exists()
    with pytest.raises(SystemExit):
        run_sft("reject_sft", sft_flags("--model", str(adapter)))
    swift()
    run_sft("reject_sft", sft_flags("--model", str(adapter)))
    arguments = (folder / "arguments").read_text().splitlines()
    assert arguments[arguments.index("--model") + 1] == str(merged)
    record = read_manifest(tmp_path / "run")
    assert record["starting_adapter"]["path"] == str(adapter)
    assert record["config"]["model_name_or_path"] == str(adapter)
    assert record["config"]["box_frame"] == "processed"
    before, after = (load_file(path / "model.safetensors") for path in (tiny_base, tmp_path / "run"))
    moved = {name for name in before if not torch.equal(before[name].float(), after[name])}
    assert moved == {name for name in before if "q_proj.weight" in name}


def test_what_no_adapter_can_do_is_refused_before_swift_starts(
    adapter, swift, sft_flags, refused, monkeypatch, tmp_path, shallow_base
):
    def start():
        run_sft("reject_sft", sft_flags("--model", str(adapter)))

    folder = swift()
    monkeypatch.setenv("NNODES", "2")
    error = refused(start)
    assert f"'python -m curr_reft.models.merge {adapter} OUT'" in error
    monkeypatch.delenv("NNODES")
    config = adapter / "adapter_config.json"
    named = {**json.loads(config.read_text()), "base_model_name_or_path": str(shallow_base)}
    config.write_text(json.dumps(named))
    assert "ask for, such as" in refused(start)
    assert not (folder / "arguments").exists()
    assert not (tmp_path / "run").exists()
