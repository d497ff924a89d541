"""Candidates as sampling writes them, and a composition of three sources."""

import json
from pathlib import Path

import pytest
from PIL import Image

from curr_reft.self_improvement.records import CANDIDATES, Candidate

COMPOSITION = """
threshold: 85
sources:
  sums: {domain: math, modality: text, json_path: sums.jsonl, quota: 2, task: math}
  boxes: {domain: general, modality: image, json_path: boxes.jsonl, quota: 2, task: detection}
  chat: {domain: science, modality: text, json_path: chat.jsonl, quota: 3}
"""


@pytest.fixture(scope="session")
def make_candidate():
    """Makes a candidate: a right and well-formed sum, unless told otherwise."""

    def make(query: str = "sums/sums.jsonl:1", sample: int = 0, **changes: object) -> Candidate:
        problem = changes.get("problem", f"What is 1 plus 2, asked in {query}?")
        fields = {
            "id": f"{query}#{sample}",
            "query": query,
            "source": query.partition("/")[0],
            "sample": sample,
            "stage": "open",
            "task": "math",
            "problem": problem,
            "prompt": f"{problem} Think first.",
            "image": None,
            "shown": None,
            "solution": "<answer>3</answer>",
            "completion": "<think>There are 3.</think><answer>3</answer>",
            "truncated": False,
        }
        return Candidate(**{**fields, **changes})

    return make


@pytest.fixture
def work(tmp_path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "sources.yaml").write_text(COMPOSITION)
    return folder


@pytest.fixture
def write_candidates(work):
    """Writes candidates to the folder that the commands share."""

    def write(*candidates: Candidate) -> None:
        lines = []
        for each in candidates:
            row = {name: getattr(each, name) for name in Candidate.__slots__ if name != "completion"}
            image = str(each.image) if each.image else None
            lines.append(json.dumps({**row, "image": image, "model_output": each.completion}))
        (work / CANDIDATES).write_text("".join(f"{line}\n" for line in lines))

    return write


@pytest.fixture
def image(tmp_path) -> Path:
    path = tmp_path / "stored.png"
    Image.new("RGB", (40, 30), "red").save(path)
    return path
