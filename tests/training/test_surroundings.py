"""What a run needs around it is asked for before it starts, without a network."""

import json
import os
import subprocess
import sys

import pytest

from curr_reft.errors import InputError
from curr_reft.models.processor import check_hub
from curr_reft.training.surroundings import check_trackers, check_writable

KEY = "0123456789" * 4
# A fork for each question: wandb reads its environment once, and importing what it needs takes seconds.
ASK = """
import json, os, sys
from curr_reft.errors import InputError
from curr_reft.training.surroundings import check_tracker_login
for question in json.loads(sys.argv[1]):
    if os.fork() == 0:
        os.environ.update(question["environment"])
        try:
            check_tracker_login(question["names"])
            print("fine", flush=True)
        except InputError as error:
            print(error, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.slow
def test_wandb_needs_a_key_unless_it_is_offline(tmp_path):
    (tmp_path / "netrc").write_text(f"machine here.example login user password {KEY}\n")
    netrc = {"NETRC": str(tmp_path / "netrc")}
    questions = {
        "not logged in; run 'wandb login', set WANDB_MODE=offline, or pass --report_to none": {},
        "WANDB_API_KEY invalid": {"WANDB_API_KEY": "abc"},
        "fine": {"WANDB_MODE": "offline"},
        "fine ": {"WANDB_MODE": "disabled"},
        "fine  ": {"WANDB_API_KEY": KEY},
        "not logged in": netrc,
        "fine   ": {**netrc, "WANDB_BASE_URL": "https://here.example"},
    }
    asked = [{"names": ["tensorboard", "wandb"], "environment": each} for each in questions.values()]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    result = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps([*asked, {"names": ["none"], "environment": {}}])],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**kept, "HOME": str(tmp_path), "NETRC": str(tmp_path / "nothing")},
    )
    assert result.returncode == 0, result.stderr
    answers = result.stdout.splitlines()
    for expected, answer in zip([*questions, "fine"], answers, strict=True):
        assert expected.strip() in answer


def test_trackers_are_known_and_installed(monkeypatch):
    installed = "curr_reft.training.surroundings.get_available_reporting_integrations"
    monkeypatch.setattr(installed, lambda: ["wandb"])
    check_trackers(["none"])
    check_trackers(["all"])
    check_trackers(["wandb"])
    with pytest.raises(InputError, match=r"--report_to mlflow: its package is not installed; .* wandb, none"):
        check_trackers(["wandb", "mlflow"])
    with pytest.raises(InputError, match="--report_to wnadb: use one of none, all, "):
        check_trackers(["wnadb"])


def test_a_place_to_write_is_tried_and_left_as_it_was(tmp_path):
    check_writable(tmp_path / "a/b/c", "--output_dir")
    check_writable(tmp_path, "--output_dir")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["file/run", "file", "/proc/run", "/dev/null/run", "x" * 300])
def test_a_place_that_cannot_be_written_is_named(place, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"^--output_dir .*{place}: cannot be written"):
        check_writable(tmp_path / place, "--output_dir")


def test_a_model_that_the_hub_does_not_give_is_one_line():
    for model in ("someone/a-model-of-no-cache", "some one/a model"):
        with pytest.raises(InputError, match=r"--model_name_or_path some.*not to be had from the hub") as no:
            check_hub(model, "main", "--model_name_or_path")
        assert len(str(no.value)) < 500


def test_a_model_in_the_hubs_cache_is_not_asked_for(tmp_path, monkeypatch):
    folder = tmp_path / "models--some--model"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("abc")
    (folder / "snapshots/abc").mkdir(parents=True)
    (folder / "snapshots/abc/config.json").write_text(json.dumps({}))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    check_hub("some/model", "main", "--model_name_or_path")
