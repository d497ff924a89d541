"""The kinds of open answers, and when one row's answer can stand as a wrong answer for another row.

A kind says how an answer is spelled (one spelling for right and wrong ones), which pairs clash because the
answers are equal or nearly so, and how alike two answers are.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Protocol

import numpy as np

from curr_reft.boxes import Box, Size, iou, iou_matrix, round_box, scale_box
from curr_reft.data.reformat.math_values import NUMBER, differ, simple_value

MAX_IOU = 0.3
"""Boxes that overlap as much as this are no two different answers."""
_LEFT_FOR_ROUNDING = 0.05
_TRIES = 150
UNIT_SIZE: Size = (1, 1)


class Kind(Protocol):
    """The answers of some rows of one kind, by the rows' positions."""

    def spell(self, lender: int, asker: int) -> str:
        """The answer of row `lender` as a claim or an option in a question to row `asker`."""

    def clashes(self) -> np.ndarray:
        """Boolean `[n, n]`: the answers cannot stand as right and wrong in one question."""

    def distances(self) -> np.ndarray:
        """Float `[n, n]`: how unlike the answers are."""

    def confirm(self, a: int, b: int, asker: int) -> bool:
        """Whether the reward tells two answers apart, as a question to `asker` spells them."""

    def make_up(self, row: int, count: int, rng: np.random.Generator) -> list[str] | None:
        """Wrong answers to a row that no other row's answer fits, `None` when none can be made."""


@dataclass(frozen=True)
class Boxes:
    """One box each, in unit coordinates of its image; lent to another image by its place and size."""

    boxes: np.ndarray
    """`[n, 4]`: x1, y1, x2, y2, each between 0 and 1."""
    sizes: list[Size]
    images: list[str]

    def spell(self, lender: int, asker: int) -> str:
        return str(list(self._forms(lender, asker)[1]))

    def _forms(self, lender: int, asker: int) -> tuple[Box, Box]:
        """The box in the asker's image, as it is and in the whole pixels that a question shows."""
        size = self.sizes[asker]
        box = scale_box(tuple(self.boxes[lender].tolist()), UNIT_SIZE, size)
        return box, round_box(box, size)

    def clashes(self) -> np.ndarray:
        return iou_matrix(self.boxes, self.boxes) >= MAX_IOU - _LEFT_FOR_ROUNDING

    def distances(self) -> np.ndarray:
        """The logarithms of the ratios of widths and of heights; less than any of those in one image."""
        sides = np.log(self.boxes[:, 2:] - self.boxes[:, :2])
        unlike = np.abs(sides[:, None] - sides[None]).sum(axis=2)
        return np.where(_equal(self.images), unlike / (1 + unlike) - 1, unlike)

    def confirm(self, a: int, b: int, asker: int) -> bool:
        forms = product(self._forms(a, asker), self._forms(b, asker))
        return all(iou(first, second) < MAX_IOU for first, second in forms)

    def make_up(self, row: int, count: int, rng: np.random.Generator) -> list[str] | None:
        """Boxes of the same size elsewhere in the image, smaller where they would overlap too much."""
        size, own = self.sizes[row], self._forms(row, row)
        x1, y1, x2, y2 = own[0]
        found: list[Box] = []
        for shrink in np.linspace(1, 0.3, _TRIES).tolist():
            width, height = shrink * (x2 - x1), shrink * (y2 - y1)
            left, top = rng.random() * (size[0] - width), rng.random() * (size[1] - height)
            box = round_box((left, top, left + width, top + height), size)
            if all(iou(box, other) < MAX_IOU for other in (*own, *found)):
                found.append(box)
            if len(found) == count:
                return [str(list(box)) for box in found]
        return None


@dataclass(frozen=True)
class Labels:
    """A label set each."""

    sets: list[frozenset[str]]
    listed: frozenset[str]
    """Labels that the problems list; where no other row's labels serve, these are wrong ones as well."""

    @cached_property
    def vocabulary(self) -> list[str]:
        """Every label of the rows and of their problems, the columns of the table."""
        return sorted(self.listed.union(*self.sets))

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

    def confirm(self, a: int, b: int, asker: int) -> bool:
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
    """A number or an expression each, as its row spells it, in one line."""

    texts: Sequence[str]

    def spell(self, lender: int, asker: int) -> str:
        return self.texts[lender]

    def clashes(self) -> np.ndarray:
        values = [simple_value(text) for text in self.texts]
        keys = [
            text.casefold() if value is None else round(value, 6)
            for text, value in zip(self.texts, values, strict=True)
        ]
        return _equal(keys)

    def distances(self) -> np.ndarray:
        """Between 0 and 1 for numbers, or expressions around one number, spelled alike; 1 more for others."""
        found = [NUMBER.findall(text) for text in self.texts]
        values = np.array([float(numbers[0]) if len(numbers) == 1 else 0.0 for numbers in found])
        apart = np.abs(values[:, None] - values[None])
        apart = apart / (1 + apart + np.minimum(np.abs(values)[:, None], np.abs(values)[None]))
        lengths = np.array([len(text) for text in self.texts])
        longer = np.abs(lengths[:, None] - lengths[None]) / (1 + np.maximum(lengths[:, None], lengths[None]))
        same_shape = _equal([NUMBER.sub("0", text) for text in self.texts])
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

    letters: list[str]
    offered: list[str]
    """The letters that each problem offers, such as `ABCD`."""

    def spell(self, lender: int, asker: int) -> str:
        return self.letters[lender]

    def clashes(self) -> np.ndarray:
        """Equal letters, and letters that the other problem does not offer."""
        fits = np.array([[letter in offered for offered in self.offered] for letter in self.letters])
        return _equal(self.letters) | ~fits | ~fits.T

    def distances(self) -> np.ndarray:
        return np.zeros((len(self.letters), len(self.letters)))

    def confirm(self, a: int, b: int, asker: int) -> bool:
        return True

    def make_up(self, row: int, count: int, rng: np.random.Generator) -> list[str] | None:
        others = [letter for letter in self.offered[row] if letter != self.letters[row]]
        return [str(letter) for letter in rng.permutation(others)[:count]] if len(others) >= count else None


def _equal(keys: Sequence[Hashable]) -> np.ndarray:
    """Boolean `[n, n]`: which keys are the same."""
    codes = {key: code for code, key in enumerate(dict.fromkeys(keys))}
    column = np.array([codes[key] for key in keys])
    return column[:, None] == column[None]
