"""Three problems with images, and the command's flags for them."""

import functools
import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from curr_reft.evaluation.backends.endpoint import ChatEndpoint

PROBLEMS = 3


@pytest.fixture
def rows(tmp_path) -> Path:
    """A file of three choice rows, each with an image of its own and the gold A."""
    path = tmp_path / "rows.jsonl"
    with path.open("w") as file:
        for number in range(PROBLEMS):
            Image.new("RGB", (40, 30), (number * 80, 90, 90)).save(tmp_path / f"{number}.png")
            row = {"problem": f"Which is {number}? A. one B. two", "solution": "<answer>A</answer>"}
            row |= {"task": "classify", "image": str(tmp_path / f"{number}.png")}
            file.write(json.dumps(row) + "\n")
    return path


@pytest.fixture
def flags(rows, server, tmp_path):
    """The command's flags against `server`; others may replace them, `None` leaves one out."""

    def make(**changes: object) -> list[str]:
        values = {
            "input_file": rows,
            "task_type": "choice",
            "output_dir": tmp_path / "out",
            "k_values": "1,2,4",
            "model_url": server.url,
            "model_name": "tested",
            "threads": 4,
            **changes,
        }
        return [
            part for name, value in values.items() if value is not None for part in (f"--{name}", str(value))
        ]

    return make


@pytest.fixture
def curves():
    """For tests that look at the figure; in others it is empty, since drawing takes most of their time."""


@pytest.fixture(autouse=True)
def _hurried(request, monkeypatch):
    if "curves" not in request.fixturenames:
        drawn = "curr_reft.evaluation.pass_at_k.results.draw_curves"
        monkeypatch.setattr(drawn, lambda results: Figure((1, 1)))
    hurried = functools.partial(ChatEndpoint, first_wait=0.001)
    for module in ("models", "judge"):
        monkeypatch.setattr(f"curr_reft.evaluation.{module}.ChatEndpoint", hurried)
    for name in ("MODEL_API_KEY", "JUDGE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def saved(tmp_path):
    """The rows of a JSON lines file of the output directory."""

    def read(name: str = "choice_samples.jsonl") -> list[dict]:
        return [json.loads(line) for line in (tmp_path / "out" / name).read_text().splitlines()]

    return read


@pytest.fixture
def record(tmp_path):
    """The record of a task type's measurement."""

    def read(task_type: str = "choice") -> dict:
        return json.loads((tmp_path / f"out/{task_type}_pass_at_k.json").read_text())

    return read
