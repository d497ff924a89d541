"""Scoring of the authors' models: what would be run, and what becomes of a model that cannot be had."""

import os
import shlex
import subprocess

import pytest

from curr_reft.evaluation.flags import parse_evaluation


@pytest.fixture
def score(root, tmp_path):
    """Runs the script with stand-ins for Python and the hub's client; returns code, lines and errors."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, last in (("python", ""), ("hf", 'grep -qv lost <<<"$*"\n')):
        stub = folder / name
        stub.write_text(f'#!/usr/bin/env bash\necho "{name} $*"\n{last}')
        stub.chmod(0o755)

    def run(*flags, **environment):
        result = subprocess.run(
            ["bash", root / "scripts/score_release.sh", *flags],
            capture_output=True,
            text=True,
            env={
                "PATH": f"{folder}:{os.environ['PATH']}",
                "VIRTUAL_ENV": "x",
                "HOME": str(tmp_path),
                "OUTPUT": str(tmp_path / "out"),
                "NPROC": "1",
                **environment,
            },
        )
        return result.returncode, result.stdout.splitlines(), result.stderr

    return run


def test_the_dry_run_prints_every_step_and_runs_none(score, tmp_path):
    code, lines, _ = score("--dry_run", "--sample_num", "10")
    assert code == 0
    assert not (tmp_path / "out").exists()
    data, *models, report = (shlex.split(line) for line in lines)
    assert data[:3] == ["python", "-m", "curr_reft.data.download"]
    assert [command[2] for command in models[::2]] == ["ZTE-AIM/3B-Curr-ReFT", "ZTE-AIM/7B-Curr-ReFT"]
    for fetch, evaluate in zip(models[::2], models[1::2], strict=True):
        assert fetch[:2] == ["hf", "download"]
        script = evaluate.index("scripts/evaluate.sh")
        assert evaluate[script + 1] == fetch[-1]
        places = ("--data_root", str(tmp_path), "--output_dir", "x", "--model", fetch[-1])
        flags = parse_evaluation("", [*evaluate[script + 2 :], *places])
        assert (flags.prompts, flags.suites, flags.sample_num) == ("released", ["all"], 10)
    assert report[:2] == ["python", "eval/report.py"]
    assert [name.split("=")[0] for name in report[2:4]] == ["3B-Curr-ReFT", "7B-Curr-ReFT"]
    assert report[4:6] == ["--domain", "all"]


def test_a_model_that_cannot_be_had_is_named_and_the_others_are_scored(score, tmp_path):
    (tmp_path / "out/scores/found").mkdir(parents=True)
    (tmp_path / "out/scores/found/scores.json").touch()
    code, lines, error = score(MODELS="A/lost B/found", DATA_ROOT=str(tmp_path))
    assert code == 1
    assert error == "error: A/lost (not fetched); what was printed above says why\n"
    assert not any("data.download" in line for line in lines)
    (scored,) = (line for line in lines if "eval/evaluate.py" in line)
    assert f"--model {tmp_path}/out/models/found --data_root {tmp_path} " in scored
    assert scored.endswith(" --prompts released")
    assert lines[-1].startswith(f"python eval/report.py found={tmp_path}/out/scores/found --domain all")


def test_a_model_without_scores_is_not_reported(score, tmp_path):
    code, lines, _ = score(MODELS="B/found", DATA_ROOT=str(tmp_path))
    assert code == 0
    assert not any(line.startswith("python eval/report.py found=") for line in lines)


@pytest.mark.parametrize("flags", [("--prompts", "training"), ("--prompts=training",)])
def test_other_prompts_are_refused(score, flags):
    code, lines, error = score(*flags)
    assert (code, lines) == (2, [])
    assert error.startswith("error: --prompts: ")
