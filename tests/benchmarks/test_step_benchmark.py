"""The step benchmark on a model small enough for a test."""

import importlib.util
import json
from dataclasses import replace

import pytest
import torch
from rich.console import Console

import shapes


@pytest.fixture
def small(monkeypatch):
    """A preset whose image is two windows of the vision tower by two."""
    targets = shapes.Targets({(2, 8): 1e9}, {(2, 8): 0}, {(2, 8): 1})
    preset = replace(shapes.PRESETS["tiny"], shapes=((2, 8), (4, 6)), targets=targets)
    monkeypatch.setitem(shapes.PRESETS, "cpu", preset)
    monkeypatch.setattr(shapes, "_IMAGE", (224, 224))
    monkeypatch.setattr(shapes, "_PATCHES", 256)
    monkeypatch.setattr(shapes, "PROMPT_TOKENS", 100)
    return preset


@pytest.fixture
def script(root):
    path = root / "scripts/benchmarks/step/__main__.py"
    spec = importlib.util.spec_from_file_location("benchmark_step", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_it_measures_prints_and_checks(small, script, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmark_step.py", "--repeats", "1", "--json", "--check"])
    with pytest.raises(SystemExit) as stop:
        script.main()
    assert stop.value.code == 1
    results = json.loads(capsys.readouterr().out)
    assert results["max_logp_diff"] < 1e-5
    assert {group: list(lengths) for group, lengths in results["policy_speedup"].items()} == {
        "2": ["8"],
        "4": ["6"],
    }
    for group, ratios in results["policy_flops_ratio"].items():
        (ratio,) = ratios.values()
        # A prompt is most of the tokens, and TRL computes it for each completion.
        assert 1.5 < ratio < 2 * int(group)
    assert results["step_share_of_limit"] > 0
    assert list(results["step_speedup"]) == ["2"]
    assert list(results["step_seconds"]) == list(script.PHASES)
    for seconds in results["step_seconds"].values():
        assert {name: len(runs) for name, runs in seconds.items()} == {
            "TRL": 1,
            "ours": 1,
            "ours, TRL's rollouts": 1,
            "ours, TRL's passes": 1,
            "ours, an image each": 1,
            "ours, TRL's vision tower": 1,
        }
    assert [fault.split(":")[0] for fault in results["missed"]] == [
        "policy_speedup, 2 completions of 8 tokens"
    ]

    script.show(results, Console(width=200))
    text = capsys.readouterr().out
    assert "Optimizer step, 2 completions of 8 tokens" in text
    assert f"step {results['step_speedup']['2']['8']:.2f} times as fast (spread " in text


def test_one_shape_takes_the_presets_place(script, monkeypatch, capsys):
    monkeypatch.setattr(script, "measure", lambda *given: None)
    monkeypatch.setattr(script, "summary", lambda preset, *given: {"shapes": preset.shapes})
    monkeypatch.setattr("sys.argv", ["benchmark_step.py", "--shape", "4", "128", "--json", "--check"])
    script.main()
    assert json.loads(capsys.readouterr().out) == {"shapes": [[4, 128]], "missed": []}


@pytest.mark.parametrize(
    "flags", [["--preset", "3b"], ["--repeats", "0"], ["--preset", "7b"], ["--shape", "1", "8"]]
)
def test_bad_flags_end_in_one_line(flags, script, monkeypatch, capsys):
    if flags == ["--preset", "3b"] and torch.cuda.is_available():
        pytest.skip("this machine has the GPU that the preset needs")
    monkeypatch.setattr("sys.argv", ["benchmark_step.py", *flags])
    with pytest.raises(SystemExit) as stop:
        script.main()
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
