"""Every shipped configuration and shell script, run dry on small stand-in data."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from curr_reft.curriculum.checks import check_curriculum
from curr_reft.curriculum.commands import commands_of, write_settings
from curr_reft.curriculum.nodes import Nodes
from curr_reft.curriculum.steps import load_curriculum
from curr_reft.data.mixture import load_mixture
from curr_reft.evaluation.flags import parse_evaluation
from curr_reft.training.arguments import DataArguments, parse_arguments
from curr_reft.training.checks import held_out_warnings
from curr_reft.training.run import prepare, run_stage

ROOT = Path(__file__).resolve().parents[2]
RUNS = sorted(ROOT.glob("configs/*/stage*.yaml"))
CURRICULA = sorted([*ROOT.glob("configs/*/curriculum*.yaml"), *ROOT.glob("configs/*/ablations/*.yaml")])
MIXTURES = sorted(ROOT.glob("configs/data/*/*.yaml"))
SCRIPTS = sorted([*ROOT.glob("scripts/**/*.sh"), *ROOT.glob("scripts/**/*.sbatch")])
STAGE_SCRIPTS = sorted(ROOT.glob("scripts/qwen*/stage*.sh"))
ENVIRONMENT = ("MODEL", "DATA_ROOT", "OUTPUT", "NNODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "NPROC")
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
                of_folder = {"stage1_judge": "judge", "stage2_multi_choice": "choice"}
                stage = entry.get("stage") or of_folder.get(mixture.parent.name, "open")
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


def test_only_two_released_mixtures_train_on_a_test_file(stand_in):
    warned = {}
    for path in MIXTURES:
        data = DataArguments(dataset_name=str(path), image_root=str(stand_in))
        warned[f"{path.parent.name}/{path.stem}"] = held_out_warnings(
            load_mixture(path, stand_in, stand_in, seed=42), data
        )
    assert [name for name, warnings in warned.items() if warnings] == [
        "others/det_classify_math_v2",
        "stage1_judge/3_tasks_1000",
    ]
    assert "math_math_test.jsonl is a test file" in warned["others/det_classify_math_v2"][0]


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
    sampling = ("temperature", "top_k", "top_p", "repetition_penalty", "max_completion_length")
    optimiser = ("learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "max_grad_norm")
    for name in (*objective, *sampling, "num_generations", "optim", *optimiser, "seed", "data_seed"):
        assert name in settings, f"{name} is left to a default"
        value = getattr(config, name)
        assert type(value)(settings[name]) == value


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_shell_script_parses(script):
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert os.access(script, os.X_OK)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shell_scripts_pass_shellcheck():
    result = subprocess.run(["shellcheck", *SCRIPTS], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.fixture
def started(tmp_path):
    """Run a script with a stand-in for Python that writes its arguments down; returns exit code and lines.

    The order of the stages alone comes from Python itself.
    """
    stub = tmp_path / "bin/python"
    stub.parent.mkdir()
    order = f'[[ $* != "-m curr_reft.stages" ]] || exec {sys.executable} "$@"'
    stub.write_text(f'#!/usr/bin/env bash\n{order}\nprintf "%s\\n" "$*"\n')
    stub.chmod(0o755)

    def run(script, *arguments, **environment):
        path = f"{stub.parent}:{os.environ['PATH']}"
        inherited = {key: value for key, value in os.environ.items() if key not in ENVIRONMENT}
        result = subprocess.run(
            ["bash", ROOT / "scripts" / script, *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**inherited, "VIRTUAL_ENV": "x", "PATH": path, **environment},
            cwd=tmp_path,
        )
        return result.returncode, result.stdout.splitlines(), result.stderr

    return run


@pytest.mark.parametrize("script", STAGE_SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_stage_script_starts_a_run_that_plans(
    script, started, stand_in, tiny_base, tmp_path, capsys, trainers
):
    nodes = {} if "3b" in str(script) else {"MASTER_ADDR": "node0", "NODE_RANK": "1"}
    code, lines, _ = started(
        script, "--dry_run", MODEL=str(tiny_base), DATA_ROOT=str(stand_in), OUTPUT=str(tmp_path), **nodes
    )
    launch, flags = lines[0].split(f" train_code/grpo/stage.py {script.stem} ")
    assert code == 0
    assert launch.startswith("-m curr_reft.training.launch ")
    assert "--nproc_per_node=8" in launch
    if nodes:
        assert "--nnodes=2 --node_rank=1 --master_addr=node0 --master_port=12347" in launch
    else:
        assert "--standalone" in launch
    run_stage(trainers[script.stem.split("_")[1]], flags.split())
    text = capsys.readouterr().out
    assert f"Stage {script.stem[5]}," in text
    assert "note: --attn_implementation flash_attention_2" in text


@pytest.mark.parametrize("size", ["qwen2_5_vl_3b", "qwen2_5_vl_7b"])
def test_curriculum_script_runs_the_configuration_of_its_size(size, started, tmp_path):
    places = {"OUTPUT": str(tmp_path / "out"), "DATA_ROOT": str(tmp_path), "MODEL": "my/base"}
    code, (line,), _ = started(f"{size}/curriculum.sh", "--until", "stage3_open", **places)
    assert code == 0
    assert line.startswith(f"-m curr_reft.curriculum {ROOT}/configs/{size}/curriculum.yaml --model my/base ")
    assert line.endswith(f"--output_dir {tmp_path}/out --processes 8 --until stage3_open")


def test_curriculum_script_takes_a_file(started):
    path = ROOT / "configs/tiny/ablations/reverse.yaml"
    assert started("curriculum.sh", path, "--dry_run")[1] == [f"-m curr_reft.curriculum {path} --dry_run"]


@pytest.mark.parametrize("path", CURRICULA, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_curriculum_is_sound(path, stand_in, tiny_base, tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("JUDGE_MODEL", "judge")
    places = {"output_dir": str(tmp_path), "data_root": str(stand_in), "query_root": str(stand_in)}
    curriculum = load_curriculum(path, {"model": str(tiny_base), **places}, {})
    check_curriculum(curriculum, curriculum.steps)
    models = {name: str(tiny_base) for name in ("base", *(step.name for step in curriculum.steps))}
    for step in curriculum.steps:
        commands = list(commands_of(step, curriculum, models, Nodes(), write_settings(step, tmp_path)))
        assert commands
        if step.stage is not None:
            flags = commands[0].arguments[commands[0].arguments.index(step.stage.title) + 1 :]
            monkeypatch.chdir(ROOT)
            assert prepare(step.stage, [*flags, "--dry_run"]).plan.steps > 0


@pytest.mark.parametrize("script", ["evaluate.sh", "qwen2_5_vl_3b/evaluate.sh", "qwen2_5_vl_7b/evaluate.sh"])
def test_evaluation_script_scores_a_run_and_reports_it(script, started, tmp_path):
    (tmp_path / "run").mkdir()
    places = {"DATA_ROOT": str(tmp_path / "data"), "OUTPUT": str(tmp_path / "out"), "NPROC": "8"}
    code, (score, report), _ = started(script, tmp_path / "run", "--suites", "in", **places)
    assert code == 0
    assert score.startswith("-m curr_reft.training.launch --standalone --nproc_per_node=8 eval/evaluate.py ")
    flags = parse_evaluation(
        "", score.split("eval/evaluate.py ")[1].replace(places["DATA_ROOT"], str(tmp_path)).split()
    )
    assert (flags.model, flags.output_dir, flags.suites) == (str(tmp_path / "run"), tmp_path / "out", ["in"])
    assert report == f"eval/report.py {tmp_path}/out --domain all --output_dir {tmp_path}/out/report"


def test_runs_of_two_sizes_are_scored_into_two_folders(started):
    outputs = []
    for size in ("3b", "7b"):
        _, (score, _), _ = started(f"qwen2_5_vl_{size}/evaluate.sh", "--suites", "in")
        assert score.endswith(" --suites in")
        outputs.append(score.split("--output_dir ")[1].split()[0])
    assert [path.split("/outputs/")[1] for path in outputs] == [
        f"evaluation/qwen2_5_vl_{size}/stage3_open" for size in ("3b", "7b")
    ]


@pytest.mark.parametrize(
    ("script", "arguments", "environment", "message"),
    [
        ("evaluate.sh", (), {}, "usage: scripts/evaluate.sh RUN"),
        ("evaluate.sh", ("run", "--output_dir", "x"), {}, "give RUN as the first argument"),
        ("launch.sh", (), {}, "usage: scripts/launch.sh SIZE STAGE"),
        ("launch.sh", ("tiny", "stage4"), {}, "unknown stage 'stage4'"),
        ("launch.sh", ("huge", "stage1_judge"), {}, "no configuration configs/huge/stage1_judge.yaml"),
        ("launch.sh", ("tiny", "stage1_judge"), {"NNODES": "2"}, "NNODES=2 needs MASTER_ADDR"),
        ("curriculum.sh", (), {}, "usage: scripts/curriculum.sh SIZE"),
        ("setup.sh", ("--flash",), {}, "unknown argument '--flash'"),
    ],
)
def test_scripts_say_what_is_wrong(script, arguments, environment, message, started):
    code, _, error = started(script, *arguments, **environment)
    assert code == 2
    assert message in error


@pytest.mark.slow
def test_bad_input_under_the_launcher_is_one_line_and_exit_code_2(stand_in, tmp_path):
    result = subprocess.run(
        ["bash", ROOT / "scripts/launch.sh", "tiny", "stage1_judge", "--num_generations", "1"],
        capture_output=True,
        text=True,
        env={**os.environ, "NPROC": "2", "DATA_ROOT": str(stand_in), "OUTPUT": str(tmp_path)},
        timeout=300,
    )
    assert result.returncode == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert errors == ["error: --num_generations 1: a group advantage needs at least 2"]
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_one_line_of_one_process(stand_in, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    places = {"DATA_ROOT": str(stand_in), "OUTPUT": str(tmp_path), "HF_HOME": str(tmp_path)}
    model = ("--model_name_or_path", "some/model", "--dry_run")
    result = subprocess.run(
        ["bash", ROOT / "scripts/launch.sh", "tiny", "stage1_judge", *model],
        capture_output=True,
        text=True,
        # Nothing listens at this port.
        env={**environment, "NPROC": "2", "HF_ENDPOINT": "http://127.0.0.1:9", **places},
        timeout=300,
    )
    assert result.returncode == 2
    assert result.stderr.startswith(
        "error: --model_name_or_path some/model: no such directory, not in the hub"
    )
    assert len(result.stderr.splitlines()) == 1


RELEASED = """
    --deepspeed configs/deepspeed/zero3.json --output_dir {out}/{stage} --model_name_or_path {model}
    --dataset_name configs/data/{mixture}.yaml --image_root {data} --max_prompt_length 2048
    --num_generations {generations} --per_device_train_batch_size 1 --gradient_accumulation_steps 1
    --logging_steps 1 --bf16 --torch_dtype bfloat16 --data_seed 42 --report_to wandb
    --gradient_checkpointing false --attn_implementation flash_attention_2 --num_train_epochs {epochs}
    --run_name run --save_steps 100 --save_only_model true
"""
"""The flags of the released commands, in their order; only paths are exchanged."""


@pytest.mark.parametrize(
    ("stage", "mixture", "generations", "epochs"),
    [
        ("judge", "stage1_judge/3_tasks_4000", 4, 1),
        ("choice", "stage2_multi_choice/3_tasks_3000", 2, 1),
        ("open", "others/det_classify_math_v2", 4, 2),
    ],
)
def test_released_command_lines_plan(
    stage, mixture, generations, epochs, stand_in, tiny_base, tmp_path, trainers, capsys, monkeypatch
):
    monkeypatch.chdir(ROOT)
    flags = RELEASED.format(
        out=tmp_path,
        stage=stage,
        model=tiny_base,
        mixture=mixture,
        data=stand_in,
        generations=generations,
        epochs=epochs,
    ).split()
    run_stage(trainers[stage], [*flags, "--dry_run"])
    text = capsys.readouterr().out
    assert f"{generations} ({generations} each)" in text
    assert f"({epochs} epochs)" in text
    assert "note: --bf16 with --deepspeed needs a GPU" in text
    # The released scripts also name these.
    more = ["--reward_funcs", "accuracy", "format", "--max_pixels", "12845056", "--min_pixels", "3136"]
    run_stage(trainers[stage], [*flags, *more, "--dry_run"])
