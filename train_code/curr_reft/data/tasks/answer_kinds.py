"""The kinds of open answers, and when one row's answer can stand as a wrong answer for another row.

A kind says how an answer is spelled (one spelling for right and wrong ones), which pairs clash because the
answers are equal or nearly so, and how alike two answers are.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from curr_reft.data.boxes import Box, Size, iou_matrix, round_box, scale_box
from curr_reft.rewards import maths
from curr_reft.rewards.answers import parse_options

MAX_IOU = 0.3
"""Boxes that overlap more than this are no two different answers."""
UNIT_SIZE: Size = (1, 1)
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")


class Kind(Protocol):
    """The answers of some rows of one kind, by the rows' positions."""

    def spell(self, lender: int, asker: int) -> str:
        """The answer of row `lender` as a claim or an option in a question to row `asker`."""

    def clashes(self) -> np.ndarray:
        """Boolean `[n, n]`: the answers cannot stand as right and wrong in one question."""

    def distances(self) -> np.ndarray:
        """Float `[n, n]`: how unlike the answers are."""

    def confirm(self, a: int, b: int) -> bool:
        """Whether two answers that do not clash are different under the reward's own comparison too."""

    def make_up(self, row: int, count: int, rng: np.random.Generator) -> list[str] | None:
        """Wrong answers to a row that no other row's answer fits, `None` when none can be made."""


@dataclass(frozen=True)
class Boxes:
    """One box each, in unit coordinates of its picture; lent to another picture by its place and size."""

    boxes: np.ndarray
    """`[n, 4]`: x1, y1, x2, y2, each between 0 and 1."""
    sizes: list[Size]
    pictures: list[str]

    def spell(self, lender: int, asker: int) -> str:
        return self._spell(tuple(self.boxes[lender].tolist()), asker)

    def _spell(self, box: Box, asker: int) -> str:
        size = self.sizes[asker]
        return str(list(round_box(scale_box(box, UNIT_SIZE, size), size)))

    def clashes(self) -> np.ndarray:
        return iou_matrix(self.boxes, self.boxes) >= MAX_IOU

    def distances(self) -> np.ndarray:
        """The logarithms of the ratios of widths and of heights; less than any of those in one picture."""
        sides = np.log(self.boxes[:, 2:] - self.boxes[:, :2])
        unlike = np.abs(sides[:, None] - sides[None]).sum(axis=2)
        codes = np.unique(self.pictures, return_inverse=True)[1]
        same_picture = codes[:, None] == codes[None]
        return np.where(same_picture, unlike / (1 + unlike) - 1, unlike)

    def confirm(self, a: int, b: int) -> bool:
        return True

    def make_up(self, row: int, count: int, rng: np.random.Generator) -> list[str] | None:
        """Boxes of the same size elsewhere in the picture, smaller where they would overlap too much."""
        sides = self.boxes[row, 2:] - self.boxes[row, :2]
        found = self.boxes[row : row + 1]
        for shrink in np.linspace(1, 0.3, 700):
            corner = rng.random(2) * (1 - shrink * sides)
            box = np.concatenate([corner, corner + shrink * sides])[None]
            if iou_matrix(box, found).max() < MAX_IOU:
                found = np.concatenate([found, box])
            if len(found) > count:
                return [self._spell(tuple(box.tolist()), row) for box in found[1:]]
        return None


@dataclass(frozen=True)
class Labels:
    """A label set each."""

    sets: list[frozenset[str]]

    @cached_property
    def vocabulary(self) -> list[str]:
        """Every label of the rows, the columns of the table."""
        return sorted(frozenset().union(*self.sets))

    @cached_property
    def _table(self) -> np.ndarray:
        return np.array([[label in labels for label in self.vocabulary] for labels in self.sets])

    def columns(self, row: int, absent: bool = False) -> np.ndarray:
        """The columns of a row's labels, or of the labels it does not have."""
        return np.flatnonzero(self._table[row] != absent)

    def only_in(self, first: int, second: int) -> np.ndarray:
        """The columns of the labels that row `first` has and row `second` has not."""
        return np.flatnonzero(self._table[first] & ~self._table[second])

    def counts_in_first_only(self) -> np.ndarray:
        """Integer `[n, n]`: how many labels the first row has that the second has not."""
        table = self._table.astype(np.float32)
        return (table @ (1 - table).T).astype(int)

    def sizes(self) -> np.ndarray:
        return self._table.sum(axis=1)

    def spell(self, lender: int, asker: int) -> str:
        return ", ".join(sorted(self.sets[lender]))

    def clashes(self) -> np.ndarray:
        return self.distances() == 0

    def distances(self) -> np.ndarray:
        """The number of labels that only one of the two has."""
        only_first = self.counts_in_first_only()
        return (only_first + only_first.T).astype(float)

    def confirm(self, a: int, b: int) -> bool:
        return True

    def make_up(self, row: int, count: int, rng: np.random.Generator) -> list[str] | None:
        """Label sets with one label added, or one taken away."""
        own = self.sets[row]
        others = [own - {label} for label in sorted(own) if len(own) > 1]
        others += [own | {label} for label in self.vocabulary if label not in own]
        if len(others) < count:
            return None
        return [", ".join(sorted(others[i])) for i in rng.permutation(len(others))[:count]]


@dataclass(frozen=True)
class Values:
    """A number or an expression each, as its row spells it."""

    texts: list[str]

    def spell(self, lender: int, asker: int) -> str:
        return self.texts[lender]

    def clashes(self) -> np.ndarray:
        keys = [
            number if number is not None else text
            for text, number in zip(self.texts, self._numbers(), strict=True)
        ]
        codes = {key: code for code, key in enumerate(dict.fromkeys(keys))}
        column = np.array([codes[key] for key in keys])
        return column[:, None] == column[None]

    def _numbers(self) -> list[float | None]:
        return [float(text) if _NUMBER.fullmatch(text) else None for text in self.texts]

    def distances(self) -> np.ndarray:
        """Between 0 and 1 for numbers, or expressions around one number, spelled alike; 1 more for others."""
        found = [_NUMBER.findall(text) for text in self.texts]
        values = np.array([float(numbers[0]) if len(numbers) == 1 else 0.0 for numbers in found])
        apart = np.abs(values[:, None] - values[None])
        apart = apart / (1 + apart + np.minimum(np.abs(values)[:, None], np.abs(values)[None]))
        lengths = np.array([len(text) for text in self.texts])
        longer = np.abs(lengths[:, None] - lengths[None]) / (1 + np.maximum(lengths[:, None], lengths[None]))
        shapes = np.unique([_NUMBER.sub("0", text) for text in self.texts], return_inverse=True)[1]
        return np.where(shapes[:, None] == shapes[None], apart + longer, 2 + longer)

    def confirm(self, a: int, b: int) -> bool:
        first, second = self.texts[a], self.texts[b]
        if _NUMBER.fullmatch(first) and _NUMBER.fullmatch(second):
            return float(first) != float(second)
        verdicts = {maths.compare(first, second), maths.compare(second, first)}
        return verdicts == {maths.Verdict.DIFFERENT}

    def make_up(self, row: int, count: int, rng: np.random.Generator) -> list[str] | None:
        """The text with its first number replaced by near ones, the right one at any rank among them."""
        text = self.texts[row]
        match = _NUMBER.search(text)
        if match is None:
            return None
        decimals = len(match[0].partition(".")[2])
        number, step = float(match[0]), 10.0**-decimals
        below = int(rng.integers(count + 1))
        if number >= 0:
            below = min(below, int(number / step))
        near = [number + step * offset for offset in range(-below, count + 1 - below) if offset]
        return [f"{text[: match.start()]}{value:.{decimals}f}{text[match.end() :]}" for value in near]


@dataclass(frozen=True)
class Letters:
    """An option letter each; the problem lists the options itself."""

    letters: list[str]
    offered: list[str]
    """The letters that each problem offers, such as `ABCD`."""

    def spell(self, lender: int, asker: int) -> str:
        return self.letters[lender]

    def clashes(self) -> np.ndarray:
        """Equal letters, and letters that the other problem does not offer."""
        fits = np.array([[letter in offered for offered in self.offered] for letter in self.letters])
        letters = np.array(self.letters)
        return (letters[:, None] == letters[None]) | ~fits | ~fits.T

    def distances(self) -> np.ndarray:
        return np.zeros((len(self.letters), len(self.letters)))

    def confirm(self, a: int, b: int) -> bool:
        return True

    def make_up(self, row: int, count: int, rng: np.random.Generator) -> list[str] | None:
        others = [letter for letter in self.offered[row] if letter != self.letters[row]]
        return [str(letter) for letter in rng.permutation(others)[:count]] if len(others) >= count else None


def is_letter(answer: str) -> bool:
    """Whether a math answer is one of the options that its problem lists."""
    options = parse_options(answer)
    return options is not None and len(options) == 1
