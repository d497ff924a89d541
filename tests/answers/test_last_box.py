r"""What the text around a ``\boxed{…}`` makes of it; wrong answers stay unpaid, whatever they mention."""

import pytest

from curr_reft.rewards.paper import score


def is_paid(stage: str, task: str, completion: str, gold: str) -> bool:
    return score(stage, task, completion, f"<answer>{gold}</answer>", "tolerant").reward == 1


@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        (r"So the angle is \boxed{35}.", "35"),
        (r"Since it is not isosceles, the angle is \boxed{35}.", "35"),
        (r"We cannot use AA, so $x = \boxed{35}$", "35"),
        (r"It is \boxed{34}, no, \boxed{35}", "35"),
        (r"Not \boxed{34} but \boxed{35}", "35"),
        ("It is not \\boxed{34}.\nAnswer: 35", "35"),
        (r"The length is \boxed{35} cm.", "35"),
        (r"The length is \boxed{35} cm.", "35 cm"),
        (r"It is \boxed{35} \mathrm{~cm}^2", "35 cm²"),
        (r"The area is $\boxed{25}\pi$ cm².", "25π"),
        (r"It is $\boxed{35}^\circ$.", "35°"),
        (r"The answer is $-\boxed{35}$", "-35"),
        (r"So **\boxed{35}**", "35"),
        (r"So \textbf{\boxed{35}}.", "35"),
        (r"The value of x is (\boxed{35}).", "35"),
        (r"So the answer is \boxed{35} degrees, as shown.", "35"),
        (r"The answer is \boxed{35}. So the answer is 35.", "35"),
        ("\\boxed{35}\n\\boxed{35}", "35"),
        (r"\boxed{35} \boxed{", "35"),
        ("It is \\boxed{140}. The answer is 140°. I hope this helps.", "140"),
    ],
)
def test_paid(completion, gold):
    assert is_paid("open", "math", completion, gold)


@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        (r"The answer is not \boxed{35}.", "35"),
        (r"It cannot be \boxed{35}", "35"),
        (r"It isn't \boxed{35}.", "35"),
        (r"It is not equal to $\boxed{35}$.", "35"),
        (r"\boxed{35} is wrong.", "35"),
        (r"\boxed{35} is not the answer.", "35"),
        (r"Is it \boxed{35}?", "35"),
        (r"\boxed{35}, not \boxed{34}", "34"),
        (r"34 or \boxed{35}", "35"),
        (r"\boxed{35} or 36", "35"),
        (r"Either \boxed{34} \text{ or } \boxed{35}", "35"),
        (r"The ratio is \boxed{34}: \boxed{35}", "35"),
        (r"So x = -\boxed{35}", "35"),
        (r"So x \ge \boxed{35}", "35"),
        (r"It is \frac{\boxed{35}}{2}", "35"),
        (r"It is \sqrt{\boxed{35}}", "35"),
        (r"The area is $\boxed{35}\pi$.", "35"),
        (r"The area is $\boxed{35}\sqrt{2}$.", "35"),
        (r"The area is \boxed{35}^2", "35"),
        (r"The length is $\boxed{35}$ meters.", "35 cm"),
        (r"The area is \boxed{35} \mathrm{~cm}^2", "35 cm^3"),
        (r"I first thought \boxed{35}, but the answer is 36.", "35"),
        ("I first thought \\boxed{35}, but the answer is 36. I hope this helps.", "35"),
    ],
)
def test_unpaid(completion, gold):
    assert not is_paid("open", "math", completion, gold)


@pytest.mark.parametrize(
    ("stage", "task", "completion", "gold", "expected"),
    [
        ("choice", "math", r"So \boxed{C}.", "C", True),
        ("choice", "math", r"So not \boxed{C}.", "C", False),
        ("judge", "math", r"So \boxed{yes}", "yes", True),
        ("judge", "math", r"So not \boxed{yes}", "yes", False),
        ("open", "classify", r"It is a \boxed{cat}", "cat", True),
        ("open", "classify", "Final answer: ['cat', 'dog'].", "cat, dog", True),
        ("open", "detection", "The answer is [10, 20, 110, 220].", "[10, 20, 110, 220]", True),
        ("open", "detection", "The answer is not [10, 20, 110, 220].", "[10, 20, 110, 220]", False),
    ],
)
def test_other_kinds(stage, task, completion, gold, expected):
    assert is_paid(stage, task, completion, gold) == expected


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{3}" + " " * 200_000 + r"x\boxed{4}",
        r"\boxed{3} so" + " " * 200_000,
        r"\boxed{3} " + "final " * 100_000,
        r"\boxed{3} " + "the answer is " * 50_000,
        r"\boxed{3}" * 50_000,
        "not " * 100_000 + r"\boxed{3}",
    ],
)
def test_hostile_text_is_linear(text):
    assert not is_paid("open", "math", text, "35")
