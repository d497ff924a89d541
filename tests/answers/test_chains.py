"""Chains of equalities under the tolerant reading."""

import pytest

from curr_reft.answers.chains import end_of_chain


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("AB = 3 + 4 = 7", "AB = 7"),
        ("A = πr² = 9π", "A = 9π"),
        ("180° - 145° = 35°", "35°"),
        ("The measure of angle ABC = 24°", "24°"),
        ("Area = 1/2 * 6 * 8 = 24", "Area = 24"),
        *(("S_{ABC} = 24", "24"), ("sin A = 3/5 = 0.6", "0.6"), ("f(2) = 4 + 1 = 5", "5")),
        *(("θ = 30°", "30°"), (r"\theta = 30°", "30°"), ("a + b = 5", "5"), ("OA = OB = r = 5", "OA = 5")),
        ("24 cm = 24", "24"),
    ],
)
def test_the_last_member(text, end):
    assert end_of_chain(text) == end


@pytest.mark.parametrize(
    "text",
    [
        *("53 = 35", "AB = 3 + 4 = 8", "x = 34 = 35", "24 cm = 24 m", "2x = 35", "x + 1 = 35", "-x = 35"),
        *("1/x = 35", "x^2 = 35", "x² = 9 = 9", "180 - x = 145", "2AB = 14", "AB² = 25", "|x| = 2"),
        *("log x = 2", "twice x = 10", "x squared = 9", r"2\theta = 30", "2πr = 6π", "If AB = 24"),
        *("Let x = 35", "Suppose the area = 35", "wrong answer = 35", "not x = 35", "x = 3, y = 4"),
        "x = 3 y = 4",
    ],
)
def test_no_answer(text):
    assert end_of_chain(text) is None
