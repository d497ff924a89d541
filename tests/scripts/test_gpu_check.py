"""The check of what needs a GPU: its commands, its time, its failures; and what of it a CPU can do."""

import json
import runpy
import shlex
import sys
import time

import psutil
import pytest

import findings
import parts
import running
from curr_reft.evaluation.flags import parse_evaluation
from curr_reft.training.arguments import parse_arguments


@pytest.fixture(scope="session")
def check(root):
    """The names of the command's module."""
    return runpy.run_path(str(root / "scripts/gpu_check"), run_name="gpu_check")


@pytest.fixture
def tried(check, monkeypatch, tmp_path, capsys):
    """Runs the command with other parts; returns its exit code, record and table."""

    def run(*others, minutes=1.0):
        monkeypatch.setattr(parts.Trial, "parts", lambda trial: list(others))
        flags = ["--preset", "tiny", "--output", str(tmp_path / "out"), "--minutes", str(minutes)]
        code = 0
        try:
            check["main"](flags)
        except SystemExit as stop:
            code = stop.code
        record = json.loads((tmp_path / "out/gpu_check.json").read_text())
        table = (tmp_path / "out/gpu_check.md").read_text()
        assert capsys.readouterr().out == table
        return code, record["parts"], table

    return run


def python(text):
    return (sys.executable, "-c", text)


def test_the_dry_run_prints_commands_that_parse(check, capsys, tmp_path, monkeypatch, root):
    monkeypatch.chdir(root)
    check["main"](["--dry_run", "--output", str(tmp_path / "out")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines if line.startswith("==")] == [
        "== weights and rows",
        "== step benchmark",
        "== three stages",
        "== LoRA",
        "== evaluation",
        "== three stages",
        "== step benchmark",
        "== vLLM rollouts",
    ]
    assert not (tmp_path / "out").exists()
    stages, scored = [], []
    for line in lines:
        words = shlex.split(line)
        if "train_code/grpo/stage.py" in words:
            stage, *flags = words[words.index("train_code/grpo/stage.py") + 1 :]
            _, config, model = parse_arguments([*flags, "--dry_run"])
            stages.append((stage, bool(config.deepspeed_file), model.use_peft, config.use_vllm))
            assert (model.dtype, config.max_steps <= 6) == ("bfloat16", True)
        elif "eval/evaluate.py" in words:
            world = str(tmp_path / "out/world")
            flags = [str(tmp_path) if word == world else word for word in words]
            scored.append(parse_evaluation("", flags[flags.index("eval/evaluate.py") + 1 :]).batch_size)
    curriculum = ("judge", "choice", "open")
    assert stages == [
        *((stage, True, False, False) for stage in curriculum),
        *[("open", False, True, False)] * 2,
        *((stage, False, False, False) for stage in curriculum),
        ("open", False, False, True),
    ]
    assert scored == [1, 16]


def test_what_always_applies_fits_the_time(check, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "_not_installed", lambda package: f"{package} is not installed")
    always = [part for part in parts.Trial("3b", tmp_path, has_gpu=True).parts() if not part.missing]
    assert len(always) == 6
    assert sum(part.seconds for part in always) <= 60 * check["MINUTES"]


def test_a_part_that_a_gpu_has_no_room_for_is_skipped_with_both_numbers(check, tmp_path):
    log, deadline = tmp_path / "log", time.monotonic() + 60
    log.touch()
    part = parts.Part("large", 1, (python(""),), gpu_gib=100)
    assert check["tried"](part, log, deadline, 79.2) == {
        "outcome": "skipped: it wants a GPU of 100 GiB, and this one has 79.2"
    }
    assert check["tried"](part, log, deadline, 139.8)["outcome"] == "done"


def test_a_part_that_fails_or_does_not_fit_stops_no_other(tried):
    code, record, table = tried(
        parts.Part("broken", 1, (python("raise SystemExit('error: a | b')"), python("never"))),
        parts.Part("elsewhere", 1, (python("never"),), missing="no such thing"),
        parts.Part("long", 61, (python("never"),)),
        parts.Part("odd files", 1, (python(""),), lambda log: {}["nothing"]),
        parts.Part("fine", 1, (python("print('hello')"), python("")), lambda log: {"said": log.read_text()}),
    )
    assert code == 1
    assert record["broken"]["outcome"] == "exit code 1: error: a | b"
    assert len(record["broken"]["seconds"]) == 1
    assert record["elsewhere"] == {"outcome": "skipped: no such thing"}
    assert record["long"]["outcome"].startswith("skipped: ")
    assert record["odd files"]["outcome"] == "no findings: KeyError: 'nothing'"
    assert record["fine"]["outcome"] == "done"
    assert record["fine"]["findings"] == {"said": "hello\n"}
    assert r"| broken | exit code 1: error: a \| b |" in table
    assert "| fine | done |" in table


def test_skipped_parts_are_no_failure(tried):
    code, record, _ = tried(parts.Part("elsewhere", 1, (), missing="no GPU"))
    assert code == 0
    assert record["elsewhere"] == {"outcome": "skipped: no GPU"}


def test_weights_of_runs_are_deleted_and_the_models_stay(tried, tmp_path):
    text = (
        "from pathlib import Path\n"
        "for name in ('base', 'run'):\n"
        f"    folder = Path({str(tmp_path / 'out')!r}, name, 'checkpoint-1')\n"
        "    folder.mkdir(parents=True)\n"
        "    (folder / 'model.safetensors').touch()\n"
    )
    tried(parts.Part("run", 1, (python(text),)))
    assert [path.parts[-3] for path in (tmp_path / "out").rglob("*.safetensors")] == ["base"]


def test_a_command_ends_with_all_that_it_started_when_its_time_is_over(tmp_path):
    started = tmp_path / "child"
    text = (
        "import subprocess, sys, time, pathlib\n"
        "command = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        "child = subprocess.Popen(command, start_new_session=True)\n"
        f"pathlib.Path({str(started)!r}).write_text(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    ended = running.run(python(text), tmp_path / "log", limit=5)
    assert ended.outcome == "no time left after 5 s"
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and psutil.pid_exists(int(started.read_text())):
        time.sleep(0.1)
    assert not psutil.pid_exists(int(started.read_text()))


def test_a_command_is_killed_when_a_file_is_there(tmp_path):
    file, log = tmp_path / "checkpoint", tmp_path / "log"
    text = f"import pathlib, time; pathlib.Path({str(file)!r}).touch(); time.sleep(60)"
    assert running.run(python(text), log, 30, kill_at=file).outcome == running.KILLED
    file.unlink()
    assert running.run(python(""), log, 30, kill_at=file).outcome == "ended before it could be killed"


def test_a_part_goes_on_from_a_kill_and_ends_where_there_was_none(tried, tmp_path):
    checkpoint, never = tmp_path / "checkpoint", tmp_path / "never"
    saves = python(f"import pathlib, time; pathlib.Path({str(checkpoint)!r}).touch(); time.sleep(60)")
    code, record, _ = tried(
        parts.Part("resumed", 30, (saves, python("print('again')")), kill_at=checkpoint),
        parts.Part("over", 30, (python(""), python(f"open({str(never)!r}, 'w')")), kill_at=never),
        minutes=2,
    )
    assert code == 1
    assert record["resumed"]["outcome"] == "done"
    assert len(record["resumed"]["seconds"]) == 2
    assert record["over"]["outcome"] == "ended before it could be killed"
    assert not never.exists()


def test_the_benchmarks_object_is_found_among_its_progress(tmp_path):
    seconds = {"TRL": [2.5], "ours": [1.0]}
    printed = {
        "preset": "3b",
        "machine": {"device": "a GPU", "cores": 16},
        "policy_speedup": {"4": {"128": 3.5}},
        "step_speedup": {"4": {"128": 2.5}},
        "memory_ratio": {"4": {"128": 0.5}},
        "max_logp_diff": 0.01,
        "policy_bytes": {"4": {"128": {"TRL": 9, "ours": 4}}},
        "step_seconds": {"rollout": {"TRL": [1.5], "ours": [0.5]}, "step": seconds},
        "step_bytes": {"rollout": {"TRL": 1, "ours": 1}, "step": {"TRL": 80, "ours": 60}},
        "missed": [],
    }
    log = tmp_path / "log"
    log.write_text(
        "[rank0] config = {\n  'zero': 3\n}\rLoading weights: 100%|####| 824/824\n"
        f"12:00 INFO measure: step, TRL: 2.50 s\n{json.dumps(printed, indent=2)}\n[W1201] destroyed {{\n"
    )
    assert findings.benchmark(log) == {
        "max_logp_diff": 0.01,
        "policy_speedup": {"4": {"128": 3.5}},
        "step_speedup": {"4": {"128": 2.5}},
        "memory_ratio": {"4": {"128": 0.5}},
        "policy_bytes": {"4": {"128": {"TRL": 9, "ours": 4}}},
        "step_seconds": seconds,
        "step_bytes": {"TRL": 80, "ours": 60},
    }
    log.write_text("12:00 INFO measure: step, TRL: 2.50 s\n")
    with pytest.raises(ValueError, match="substring not found"):
        findings.benchmark(log)


def entry(step, seconds, **metrics):
    """What the trainer logs of a step."""
    return {"epoch": step / 16, "loss": 0.0, "step": step, "step_time": seconds, **metrics}


def test_steps_and_a_resume_are_read_from_the_files_of_a_run(tmp_path):
    history = [
        entry(1, 9.0, reward=0.25, kl=0.0, grad_norm=3.0, **{"shared_prefix/packed": 1.0}),
        entry(2, 2.0, reward=0.5, kl=0.125, grad_norm=2.0, **{"shared_prefix/packed": 1.0}),
        entry(3, 2.5, reward=0.75, kl=0.25, grad_norm=1.5),
        # What the trainer adds at the end has no step's metrics.
        {"epoch": 0.2, "step": 3, "train_loss": 0.01, "train_runtime": 13.5},
    ]
    for name in ("judge", "choice"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trainer_state.json").write_text(
            json.dumps({"global_step": 3, "log_history": history})
        )
    (tmp_path / "choice/manifest.json").write_text(
        json.dumps({"stage": "choice", "status": "finished", "resumed_from": "checkpoint-2"})
    )
    run = {"steps": 3, "seconds_per_step": 2.5, "reward": 0.75, "kl": 0.25, "grad_norm": 1.5}
    run["shared_prefix/packed"] = None
    runs = [tmp_path / "judge", tmp_path / "choice"]
    assert findings.steps(tmp_path / "log", runs) == {"judge": run, "choice": run}
    assert findings.resumed(tmp_path / "log", runs[1]) == {
        "choice": run,
        "status": "finished",
        "resumed_from": "checkpoint-2",
    }


def test_the_largest_plan_of_a_log_counts(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "│ memory per device, estimated │ 24.0 GiB at │\n│ memory per device, estimated  │ 37.5 GiB at │"
    )
    assert findings.planned_gib(log) == 37.5
    log.write_text("nothing")
    assert findings.planned_gib(log) is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--preset 3b: needs a GPU"),
        (("--preset", "7b"), "--preset"),
        (("--preset", "tiny", "--output", "."), "there is something"),
    ],
)
def test_bad_input_ends_in_one_line(flags, message, check, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "something").touch()
    with pytest.raises(SystemExit) as stop:
        check["main"](list(flags))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_what_a_cpu_can_do(check, monkeypatch, tmp_path, root, capsys):
    monkeypatch.chdir(root)
    wanted = ("weights and rows", "LoRA, killed and started again", "evaluation, batch 1 against 16")
    every = parts.Trial.parts
    monkeypatch.setattr(
        parts.Trial, "parts", lambda trial: [part for part in every(trial) if part.name in wanted]
    )
    check["main"](["--preset", "tiny", "--output", str(tmp_path / "out")])
    record = json.loads((tmp_path / "out/gpu_check.json").read_text())
    assert [part["outcome"] for part in record["parts"].values()] == ["done"] * 3
    resumed, evaluated = (record["parts"][name]["findings"] for name in wanted[1:])
    assert resumed["adapter"]["steps"] == 6
    assert "adapter/checkpoint-" in resumed["resumed_from"]
    assert evaluated["rows"] == 16
    assert record["versions"]["packages"]["trl"]
