"""Accuracies and suites."""

import pytest

from curr_reft.data.suites import load_suites
from curr_reft.errors import InputError
from curr_reft.evaluation.scoring import score_predictions


def score(suite, task, *answers, truncated=False):
    """Scores of completions with these answers, each with its gold."""
    return score_predictions(
        suite,
        [
            {
                "model_output": f"<think>a</think><answer>{answer}</answer>",
                "example": {"solution": gold},
                "truncated": truncated,
            }
            for answer, gold in answers
        ],
    )


def test_a_summary_has_wilsons_interval():
    rows, result = score("math_out", "math", ("1", 1), ("1", 1), ("1", 1), ("12", 1))
    assert (result.n, result.accuracy, result.released, result.format) == (4, 0.75, 1, 1)
    assert (result.overlap, result.unparsed, result.truncated, result.incidents) == (None, 0, 0, {})
    # p = 3/4, n = 4, z = 1.96, by the closed form.
    assert (result.low, result.high) == (pytest.approx(0.3006, abs=1e-4), pytest.approx(0.9544, abs=1e-4))
    assert [(row["strict"], row["tolerant"], row["released"]) for row in rows] == [(1, 1, 1)] * 3 + [
        (0, 0, 1)
    ]
    found = {"found": "the last closed answer block", "rule": "integers, compared"}
    assert rows[3]["explanation"]["strict"] == {**found, "answer": 12, "gold": 1}


def test_incidents_and_what_was_cut_off_are_counted():
    _, result = score("math_out", "math", ("1", None), truncated=True)
    assert (result.incidents, result.truncated) == ({"strict, bad_gold": 1}, 1)


@pytest.mark.parametrize(
    ("suite", "task", "answers", "overlap", "unparsed"),
    [
        (
            "classify_in",
            "classify",
            [("car", "car, dog"), ("car", "car"), ("", "car")],
            (0.5 + 1 + 0) / 3,
            1 / 3,
        ),
        ("math_in", "math", [("7", "7"), ("", "7"), ("seven", "7")], None, 1 / 3),
        ("math_out", "math", [("7", 7), ("about 7", 7)], None, 1 / 2),
        (
            "detection_in",
            "detection",
            # Equal; half of the gold; one box too many; no box.
            [
                (box, "[0, 0, 10, 10]")
                for box in ("[0, 0, 10, 10]", "[0, 0, 10, 5]", "[[0, 0, 10, 10], [20, 20, 30, 30]]", "x")
            ],
            (1 + 0.5 + 0.5 + 0) / 4,
            1 / 4,
        ),
        ("detection_in", "detection", [("No Objects", "No Objects"), ("[0, 0, 9, 9]", "No Objects")], 0.5, 0),
    ],
)
def test_overlap_and_what_cannot_be_read_are_counted(suite, task, answers, overlap, unparsed):
    rows, result = score(
        suite, task, *((a, f"<answer>{g}</answer>" if isinstance(g, str) else g) for a, g in answers)
    )
    assert result.overlap == (None if overlap is None else pytest.approx(overlap))
    assert result.unparsed == pytest.approx(unparsed)
    assert sum(not row["parsed"] for row in rows) == round(unparsed * len(rows))


def test_without_a_closed_answer_nothing_is_parsed():
    for text in ("", "42", "<answer>42", "<think><answer>42"):
        prediction = {"model_output": text, "example": {"solution": 42}, "truncated": False}
        assert score_predictions("math_out", [prediction])[1].unparsed == 1


@pytest.mark.parametrize(
    "text",
    [
        *("a: [", "suits: {}", "suites: {}", "suites: {a: {task: math, domain: in}}"),
        "suites: {a: {task: maths, domain: in, json_path: x, scoring: math_in}}",
        "suites: {a: {task: math, domain: inside, json_path: x, scoring: math_in}}",
        "suites: {a: {task: math, domain: in, json_path: x, scoring: maths}}",
        "suites: {a: {task: detection, domain: in, json_path: x, scoring: math_out}}",
        "suites: {a: {task: math, domain: in, json_path: 5, scoring: math_in}}",
        "suites: {../a: {task: math, domain: in, json_path: x, scoring: math_in}}",
        "suites: {1: {task: math, domain: in, json_path: x, scoring: math_in}}",
    ],
)
def test_bad_suites_are_refused(tmp_path, text):
    (tmp_path / "suites.yaml").write_text(text)
    with pytest.raises(InputError, match=r"suites\.yaml"):
        load_suites(tmp_path / "suites.yaml")


def test_shipped_suites_load(root):
    for path in (root / "configs/eval").glob("*.yaml"):
        assert {suite.task for suite in load_suites(path)} == {"detection", "classify", "math"}
