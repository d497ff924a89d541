import math
import random
from itertools import permutations

import pytest

from curr_reft.answers import maths
from curr_reft.tasks.math_values import differ, is_comparable, simple_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("7", 7), ("-0.25", -0.25), ("$3$ cm", 3), ("x = 3", 3), ("3/4", 0.75), ("-\\frac{3}{4}", -0.75)),
        ("2\\sqrt{2}/3", 2 * math.sqrt(2) / 3),
        ("√3", math.sqrt(3)),
        ("12π", 12 * math.pi),
        ("30°", 30),
        ("1,000", 1000),
        ("\\dfrac{1}{2} \\pi", math.pi / 2),
    ],
)
def test_the_value_is_the_one_the_reward_reads(text, value):
    assert simple_value(text) == pytest.approx(value)
    assert maths.compare(f"{value:.9f}", text) is maths.Verdict.EQUAL


NOT_SIMPLE = "", "-", "yes", "x", "9, 10", "50%", "1 2", "2\\frac{1}{2}", "1/2\\pi", "1/0", "2^3", "1+1", "/2"
TOO_LONG = ["9" * 10, "9" * 5000, "0.0000001"]


@pytest.mark.parametrize("text", [*NOT_SIMPLE, *TOO_LONG])
def test_other_answers_have_no_simple_value(text):
    assert simple_value(text) is None


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("30", "40", True),
        ("30", "30.0", False),
        ("3.14", "3.15", True),
        ("0.333333", "1/3", False),
        ("1.414", "\\sqrt{2}", True),
        ("0.0000001", "0.0000002", True),
        ("0.1000001", "0.1000002", False),
        ("30 cm", "30 m", True),
        ("2^{3}", "8", False),
        ("Yes", "yes.", False),
        ("yes", "no", True),
        ("30°", "40°", True),
        ("1/0", "2", False),
        ("9" * 30, "9" * 29 + "8", True),
    ],
)
def test_what_the_reward_tells_apart(first, second, expected):
    assert differ(first, second) is differ(second, first) is expected


def test_the_short_cut_says_what_math_verify_says():
    rng = random.Random(1)
    forms = [
        lambda: f"{rng.randint(-9, 9)}",
        lambda: f"{rng.randint(0, 9)}.{rng.randint(0, 99)}",
        lambda: f"{rng.randint(-9, 9)}/{rng.randint(1, 9)}",
        lambda: f"\\frac{{{rng.randint(0, 9)}}}{{{rng.randint(1, 9)}}}",
        lambda: f"{rng.randint(1, 9)}\\sqrt{{{rng.randint(1, 9)}}}",
        lambda: f"{rng.randint(1, 9)}\\pi/{rng.randint(1, 9)}",
    ]
    texts = sorted({form() for form in forms for _ in range(2)})
    for first, second in permutations(texts, 2):
        assert differ(first, second) is (maths.compare(first, second) is maths.Verdict.DIFFERENT)


@pytest.mark.parametrize("text", ["1/0", "\\frac{1}{0}", "(x+y+z+w)^{99}"])
def test_answers_that_cannot_be_compared(text):
    assert not is_comparable(text)


@pytest.mark.parametrize("text", ["1", "x+1", "yes", "30°", "9" * 400, "\\frac{", "{1,2}", "\\infty"])
def test_answers_that_can_be_compared(text):
    assert is_comparable(text)
