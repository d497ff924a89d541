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
        "== three stages",
        "== LoRA",
        "== evaluation",
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
        *((stage, False, False, False) for stage in curriculum),
        *[("open", False, True, False)] * 2,
        ("open", False, False, True),
    ]
    assert scored == [1, 16]


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
    wanted = ("weights and rows", "evaluation, batch 1 against 16")
    every = parts.Trial.parts
    monkeypatch.setattr(
        parts.Trial, "parts", lambda trial: [part for part in every(trial) if part.name in wanted]
    )
    check["main"](["--preset", "tiny", "--output", str(tmp_path / "out")])
    record = json.loads((tmp_path / "out/gpu_check.json").read_text())
    assert [part["outcome"] for part in record["parts"].values()] == ["done", "done"]
    assert record["parts"][wanted[1]]["findings"]["rows"] == 16
    assert record["versions"]["packages"]["trl"]
