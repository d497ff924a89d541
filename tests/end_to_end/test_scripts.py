"""Every shipped configuration and shell script, run dry on small stand-in data."""

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import yaml

from curr_reft.arguments import parse_arguments
from curr_reft.data.mixture import load_mixture
from curr_reft.training import held_out_warnings, prepare

ROOT = Path(__file__).resolve().parents[2]
RUNS = sorted(ROOT.glob("configs/*/stage*.yaml"))
MIXTURES = sorted(ROOT.glob("configs/data/*/*.yaml"))
SCRIPTS = sorted(ROOT.glob("scripts/**/*.sh"))
SOURCES = {"judge": "judge_{}", "choice": "choice_{}", "open": "{}"}


@pytest.fixture(scope="session")
def stand_in(world, tmp_path_factory):
    """A data root that holds every file the shipped mixtures name, filled with rows of the embedded world."""
    data = tmp_path_factory.mktemp("stand_in")
    shutil.copytree(world, data, dirs_exist_ok=True)
    for mixture in MIXTURES:
        contents = yaml.safe_load(mixture.read_text())
        for entry in [*contents["train_datasets"], *contents["val_datasets"]]:
            target = data / entry["json_path"]
            if not target.exists():
                stage = {"stage1_judge": "judge", "stage2_multi_choice": "choice"}.get(
                    mixture.parent.name, "open"
                )
                task = next((t for t in ("detection", "classify") if t in target.name), None)
                task = task or ("classify" if "v2_coco" in target.name else "math")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(world / f"train/{stage}/{SOURCES[stage].format(task)}_train.jsonl", target)
    return data


@pytest.mark.parametrize("path", MIXTURES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_mixture_loads(path, stand_in):
    mixture = load_mixture(path, stand_in, stand_in, seed=42)
    assert mixture.train
    assert mixture.val


def test_only_the_released_stage_3_mixture_trains_on_a_test_file(stand_in):
    warned = {
        path.stem: held_out_warnings(load_mixture(path, stand_in, stand_in, seed=42)) for path in MIXTURES
    }
    assert [name for name, warnings in warned.items() if warnings] == ["det_classify_math_v2"]
    assert "math_math_test.jsonl is a test file" in warned["det_classify_math_v2"][0]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_run_configuration_plans(path, stand_in, tiny_base, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    trainer_stage = prepare_stage(path)
    flags = ["--config", str(path), "--image_root", str(stand_in), "--output_dir", str(tmp_path), "--dry_run"]
    run = prepare(trainer_stage, [*flags, "--model_name_or_path", str(tiny_base)])
    assert run.plan.steps > 0


def prepare_stage(path):
    from curr_reft.stages import STAGES

    return STAGES[path.stem.split("_")[1]]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_run_configuration_writes_the_objective_out(path):
    settings = yaml.safe_load(path.read_text())
    required = ["--image_root", "x", "--dry_run"]
    data, config, _ = parse_arguments(["--config", str(path), *required])
    assert settings["reward_variant"] == data.reward_variant == "paper"
    objective = ("loss_type", "beta", "use_bias_correction_kl", "scale_rewards", "num_iterations", "epsilon")
    sampling = (
        "temperature",
        "top_k",
        "top_p",
        "repetition_penalty",
        "max_completion_length",
        "num_generations",
    )
    optimiser = (
        "optim",
        "learning_rate",
        "lr_scheduler_type",
        "warmup_steps",
        "weight_decay",
        "max_grad_norm",
    )
    for name in (*objective, *sampling, *optimiser, "seed", "data_seed"):
        assert name in settings, f"{name} is left to a default"
        value = getattr(config, name)
        assert type(value)(settings[name]) == value


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_shell_script_parses(script):
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert os.access(script, os.X_OK)


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("size", ["qwen2_5_vl_3b", "qwen2_5_vl_7b"])
def test_curriculum_script_plans_every_stage(size, stand_in, tiny_base, tmp_path):
    out = tmp_path / "out"
    for stage in ("stage1_judge", "stage2_choice"):
        shutil.copytree(tiny_base, out / stage)
    environment = {
        **os.environ,
        "MODEL": str(tiny_base),
        "DATA_ROOT": str(stand_in),
        "OUTPUT": str(out),
        "NNODES": "1",
        "NPROC": "1",
        "MASTER_PORT": str(free_port()),
        "HF_HUB_OFFLINE": "1",
    }
    script = ROOT / f"scripts/{size}/curriculum.sh"
    result = subprocess.run(
        ["bash", script, "--dry_run"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=500,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert [f"Stage {number}," in result.stdout for number in (1, 2, 3)] == [True] * 3
    generations = [4, 2 if "3b" in size else 4, 4]
    for count in generations:
        assert f"({count} each)" in result.stdout
    assert "note: --attn_implementation flash_attention_2" in result.stdout


@pytest.mark.slow
def test_finished_stages_are_skipped(stand_in, tmp_path):
    out = tmp_path / "out"
    for stage in ("stage1_judge", "stage2_choice", "stage3_open"):
        (out / stage).mkdir(parents=True)
        (out / stage / "manifest.json").write_text(json.dumps({"status": "finished"}, indent=2))
    result = subprocess.run(
        ["bash", ROOT / "scripts/curriculum.sh", "tiny"],
        capture_output=True,
        text=True,
        env={**os.environ, "OUTPUT": str(out)},
    )
    assert result.returncode == 0
    assert result.stderr.count("is finished") == 3
