"""Accuracies, suites, and the report."""

import json

import pytest

from curr_reft.errors import InputError
from curr_reft.evaluation.report import load_scores, main
from curr_reft.evaluation.scoring import score_row, summarise
from curr_reft.evaluation.suites import load_suites


def test_a_summary_has_wilsons_interval():
    texts = ["<think>a</think><answer>1</answer>"] * 3 + ["<answer>12</answer>"]
    scores = [
        score_row("math_out", {"model_output": text, "example": {"solution": gold}})
        for text, gold in zip([*texts, texts[0]], [1, 1, 1, 1, None], strict=True)
    ]
    result = summarise("math", texts, scores[:4])
    assert (result.n, result.accuracy, result.released, result.format) == (4, 0.75, 1, 0.75)
    assert (result.mean_reward, result.incidents) == (0.75, {})
    assert summarise("math", texts[:1], scores[4:]).incidents == {"strict, bad_gold": 1}
    # p = 3/4, n = 4, z = 1.96, by the closed form.
    assert (result.low, result.high) == (pytest.approx(0.3006, abs=1e-4), pytest.approx(0.9544, abs=1e-4))


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "suits: {}",
        "suites: {}",
        "suites: {a: {task: math, domain: in, json_path: x}}",
        "suites: {a: {task: maths, domain: in, json_path: x, scoring: math_in}}",
        "suites: {a: {task: math, domain: inside, json_path: x, scoring: math_in}}",
        "suites: {a: {task: math, domain: in, json_path: x, scoring: maths}}",
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
        task: {
            "task": task,
            "domain": "in",
            "n": 300,
            "accuracy": accuracy,
            "low": 0.1,
            "high": 0.9,
            "released": 0.6,
            "incidents": {"strict, bad_gold": 3} if task == "math" else {},
        }
        for task in ("detection", "classify", "math")
    }
    (directory / "scores.json").write_text(json.dumps({"scores": scores}))


def test_report_prints_a_row_per_model(tmp_path, capsys):
    write_scores(tmp_path / "a", 0.25)
    write_scores(tmp_path / "b", 0.5)
    main([f"base={tmp_path / 'a'}", f"open={tmp_path / 'b'}"])
    text = capsys.readouterr().out
    assert "detection (n=300)" in text
    assert text.count("25.0 [10.0, 90.0] (60.0)") == 3
    assert "base, math: strict, bad_gold in 3 rows" in text
    assert text.index("base") < text.index("open ")


def test_report_names_what_is_missing(tmp_path):
    with pytest.raises(InputError, match="holds no scores"):
        load_scores(tmp_path, "in")
    write_scores(tmp_path / "a", 0.25)
    with pytest.raises(InputError, match="no out-domain scores for detection, classify, math"):
        load_scores(tmp_path / "a", "out")
