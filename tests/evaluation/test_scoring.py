"""Strict scores, suites, and the report."""

import json

import pytest

from curr_reft.errors import InputError
from curr_reft.evaluation.report import load_scores, main
from curr_reft.evaluation.scoring import is_correct, score
from curr_reft.evaluation.suites import load_suites


@pytest.mark.parametrize(
    ("task", "answer", "gold", "expected"),
    [
        ("classify", "car, Person", "person, car", True),
        ("classify", "person", "person, car", False),
        ("classify", "person, car, dog", "person, car", False),
        ("detection", '{"bbox_2d": [0, 0, 10, 11]}', "[0, 0, 10, 10]", True),
        ("detection", "[[0, 0, 10, 10], [5, 5, 9, 9]]", "[0, 0, 10, 10]", False),
        ("math", "35", "35°", True),
        ("math", "", "35", False),
        ("math", "34 35", "35", False),
    ],
)
def test_strict_is_all_or_nothing(task, answer, gold, expected):
    assert (
        is_correct(task, f"<think></think><answer>{answer}</answer>", f"<answer>{gold}</answer>") is expected
    )


def test_interval_is_wilsons():
    texts = ["<think>a</think><answer>1</answer>"] * 3 + ["<answer>2</answer>"]
    result = score("math", texts, ["<answer>1</answer>"] * 4)
    assert (result.n, result.accuracy, result.format) == (4, 0.75, 0.75)
    # p = 3/4, n = 4, z = 1.96, by the closed form.
    assert (result.low, result.high) == (pytest.approx(0.3006, abs=1e-4), pytest.approx(0.9544, abs=1e-4))


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "suits: {}",
        "suites: {}",
        "suites: {a: {task: math, domain: in}}",
        "suites: {a: {task: maths, domain: in, json_path: x}}",
        "suites: {a: {task: math, domain: inside, json_path: x}}",
    ],
)
def test_bad_suites_are_refused(tmp_path, text):
    (tmp_path / "suites.yaml").write_text(text)
    with pytest.raises(InputError, match=r"suites\.yaml"):
        load_suites(tmp_path / "suites.yaml")


def test_shipped_suites_load(root):
    for path in (root / "configs/eval").glob("*.yaml"):
        assert {suite.task for suite in load_suites(path)} == {"detection", "classify", "math"}


def write_scores(directory, accuracy):
    directory.mkdir()
    scores = {
        task: {"task": task, "domain": "in", "n": 300, "accuracy": accuracy, "low": 0.1, "high": 0.9}
        for task in ("detection", "classify", "math")
    }
    (directory / "scores.json").write_text(json.dumps({"scores": scores}))


def test_report_prints_a_row_per_model(tmp_path, capsys):
    write_scores(tmp_path / "a", 0.25)
    write_scores(tmp_path / "b", 0.5)
    main([f"base={tmp_path / 'a'}", f"open={tmp_path / 'b'}"])
    text = capsys.readouterr().out
    assert "detection (n=300)" in text
    assert text.count("25.0 [10.0, 90.0]") == 3
    assert text.index("base") < text.index("open ")


def test_report_names_what_is_missing(tmp_path):
    with pytest.raises(InputError, match="holds no scores"):
        load_scores(tmp_path, "in")
    write_scores(tmp_path / "a", 0.25)
    with pytest.raises(InputError, match="no out-domain scores for detection, classify, math"):
        load_scores(tmp_path / "a", "out")
