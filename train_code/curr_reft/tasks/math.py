"""Math: a number, an expression, or the letter of one of the problem's options."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from curr_reft.answers import maths
from curr_reft.answers.expressions import to_latex
from curr_reft.answers.options import LETTERS, listed_options, parse_gold_options, parse_options
from curr_reft.answers.reading import COUNT, MATH, OPTIONS
from curr_reft.stages import THINK_FIRST, Asking, ImageBudget
from curr_reft.tasks.distractors import Distractors, OpenRow, Texts, equal_pairs
from curr_reft.tasks.math_values import NUMBER, differ, is_comparable, simple_value
from curr_reft.tasks.rule import Rule
from curr_reft.tasks.score import MATH_TIMEOUT, Score
from curr_reft.tasks.task import Scoring, Task

_OFFERED_WHEN_UNKNOWN = "ABCD"


def score_option(chosen: frozenset[str], gold: frozenset[str]) -> Score:
    """1 if the option letters are those of a gold that is letters, else 0. *Ours*."""
    return Score(float(chosen == gold), "the gold is option letters: options, compared", chosen, gold)


def score_math(answer: str, gold: str) -> Score:
    """1 if the answer equals the gold, else 0. *Ours*."""
    verdict = maths.compare(answer, gold)
    incident = MATH_TIMEOUT if verdict is maths.Verdict.TIMEOUT else None
    read = [to_latex(text) or text for text in (answer, gold)]
    return Score(float(verdict is maths.Verdict.EQUAL), f"math: {verdict.value}", *read, incident)


def score_count(answer: int, gold: int) -> Score:
    """1 if the whole numbers are equal, else 0. *Ours*."""
    return Score(float(answer == gold), "integers, compared", answer, gold)


class Values(Texts):
    """A number or an expression each, as its row spells it, in one line."""

    name: ClassVar[str] = "values"

    @staticmethod
    def fault(row: OpenRow) -> str | None:
        if is_comparable(" ".join(row.answer.split())):
            return None
        return f"solution: the reward cannot compare {row.answer[:60]!r}"

    def clashes(self) -> np.ndarray:
        values = [simple_value(text) for text in self.texts]
        keys = [
            text.casefold() if value is None else round(value, 6)
            for text, value in zip(self.texts, values, strict=True)
        ]
        return equal_pairs(keys)

    def distances(self) -> np.ndarray:
        """Between 0 and 1 for numbers, or expressions around one number, spelled alike; 1 more for others."""
        found = [NUMBER.findall(text) for text in self.texts]
        values = np.array([float(numbers[0]) if len(numbers) == 1 else 0.0 for numbers in found])
        apart = np.abs(values[:, None] - values[None])
        apart = apart / (1 + apart + np.minimum(np.abs(values)[:, None], np.abs(values)[None]))
        lengths = np.array([len(text) for text in self.texts])
        longer = np.abs(lengths[:, None] - lengths[None]) / (1 + np.maximum(lengths[:, None], lengths[None]))
        same_shape = equal_pairs([NUMBER.sub("0", text) for text in self.texts])
        return np.where(same_shape, apart + longer, 2 + longer)

    def confirm(self, a: int, b: int, asker: int) -> bool:
        return differ(self.texts[a], self.texts[b])

    def make_up(self, row: int, count: int, rng: np.random.Generator) -> list[str] | None:
        """The text with its first number replaced by near ones, the right one at any rank among them."""
        text = self.texts[row]
        match = NUMBER.search(text)
        if match is None:
            return None
        decimals = len(match[0].partition(".")[2])
        number = int(match[0].replace(".", ""))
        below = int(rng.integers(count + 1))
        if number >= 0:
            below = min(below, number)
        found: list[str] = []
        # Twice as many as needed: 2^0 equals 3^0.
        for near in range(number - below, number - below + 2 * count + 1):
            other = f"{text[: match.start()]}{near / 10**decimals:.{decimals}f}{text[match.end() :]}"
            if all(differ(other, known) for known in (text, *found)):
                found.append(other)
            if len(found) == count:
                return found
        return None


@dataclass(frozen=True)
class Letters:
    """An option letter each; the problem lists the options itself."""

    name: ClassVar[str] = "letters"

    letters: list[str]
    offered: list[str]
    """The letters that each problem offers, such as `ABCD`."""

    @classmethod
    def of(cls, rows: Sequence[OpenRow]) -> Self:
        letters = [min(parse_options(row.answer)) for row in rows]
        listed = [listed_options(row.problem) for row in rows]
        offered = [_OFFERED_WHEN_UNKNOWN if own is None else LETTERS[: len(own.options)] for own in listed]
        return cls(letters, offered)

    @classmethod
    def fault(cls, row: OpenRow) -> str | None:
        (letter,), (offered,) = (found := cls.of([row])).letters, found.offered
        return None if letter in offered else f"solution: option {letter} is none of {', '.join(offered)}"

    def spell(self, lender: int, asker: int) -> str:
        return self.letters[lender]

    def clashes(self) -> np.ndarray:
        """Equal letters, and letters that the other problem does not offer."""
        fits = np.array([[letter in offered for offered in self.offered] for letter in self.letters])
        return equal_pairs(self.letters) | ~fits | ~fits.T

    def distances(self) -> np.ndarray:
        return np.zeros((len(self.letters), len(self.letters)))

    def confirm(self, a: int, b: int, asker: int) -> bool:
        return True

    def make_up(self, row: int, count: int, rng: np.random.Generator) -> list[str] | None:
        others = [letter for letter in self.offered[row] if letter != self.letters[row]]
        return [str(letter) for letter in rng.permutation(others)[:count]] if len(others) >= count else None


def _distractors(row: OpenRow) -> type[Distractors]:
    return Letters if len(parse_gold_options(row.answer) or ()) == 1 else Values


_RULES = (
    Rule(OPTIONS, score_option, "list of options", "option letters", parse_gold_options),
    Rule(MATH, score_math, "value", "the value, as in <answer>35</answer>"),
)
_COUNT = Rule(COUNT, score_count, "whole number", "a whole number, as in <answer>3</answer>")
_BUDGET = ImageBudget(trigger=410_000, max_pixels=410_000)
_RELEASED = Asking(THINK_FIRST, ImageBudget(410_000, 410_000, max_ratio=40))
"""`muti_process_eval.py`, which shrinks the images of no other task; it stops where a side is over 40 times
the other."""
TASK = Task(
    name="math",
    title="math",
    rules=_RULES,
    distractors=_distractors,
    budgets={
        "verdict": ImageBudget(trigger=262_144, max_pixels=262_144, resample="BICUBIC"),
        "letters": _BUDGET,
        "open": _BUDGET,
    },
    needs_image=False,
    scorings=(
        Scoring(name="math_in", rules=_RULES, released_asking=_RELEASED),
        Scoring(name="math_out", rules=(_COUNT,), released_asking=_RELEASED),
    ),
)
