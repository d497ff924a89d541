import time

import pytest

from curr_reft.answers.options import listed_options
from curr_reft.tasks.classification import listed_labels


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        ("Find x.\nChoices:\n(A) 30\n(B) 40", ("Find x.\nChoices:", ("30", "40"), "")),
        ("Find x.\nChoices:\nA: 30°\nB: 40°\nC:50", ("Find x.\nChoices:", ("30°", "40°", "50"), "")),
        ("A. red\r\nB. blue \r\n\r\nThink.", ("", ("red", "blue"), "Think.")),
        ("Which?\n\tA) a: b\n  B) (C) d", ("Which?", ("a: b", "(C) d"), "")),
        ("Which?\n(A) 1\n\n(B) 2\nA:", ("Which?", ("1", "2"), "A:")),
    ],
)
def test_options_that_are_listed(problem, expected):
    assert listed_options(problem) == expected


@pytest.mark.parametrize(
    "problem",
    [
        *("", "Which? (A) 30 (B) 40", "Which?\nA: 30", "Which?\nB: 30\nC: 40", "Which?\nA: 30\nC: 40"),
        *("Which?\nA: 30\nA: 40", "Which?\nA: 30\nB: 40\nA: 50", "Which?\nA: 30\n  and a bit\nB: 40"),
        *("Which?\na: 30\nb: 40", "Which?\nA:\nB:", "Which?\nAB: 30\nCD: 40"),
    ],
)
def test_other_problems(problem):
    assert listed_options(problem) is None


@pytest.mark.parametrize("unit", [" ", "A: x\n", "A:" + " " * 1000, "\t(", "A: " + "x " * 500 + "\n"])
def test_takes_linear_time(unit):
    problem = unit * (500_000 // len(unit))
    started = time.perf_counter()
    listed_options(problem)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("problem", "labels"),
    [
        ("Which of these are there: cat, Traffic Light, bus? Answer: names, with commas.", set()),
        (
            "Which of these are there: cat, Traffic Light, bus? Answer with names.",
            {"cat", "traffic light", "bus"},
        ),
        ("Classes:\ncat, dog, bus", set()),
        ("What is in the image, a cat, a dog or a bus?", set()),
        ("Choose one: cat, dog?", set()),
        ("", set()),
    ],
)
def test_labels_that_are_listed(problem, labels):
    assert listed_labels(problem) == labels
