"""Wrong answers to open rows: when one row's answer can stand as a wrong answer for another row.

Distractors say how an answer is spelled (one spelling for right and wrong ones), which pairs clash because
the answers are equal or nearly so, and how alike two answers are.
"""

from collections.abc import Hashable, Sequence
from typing import ClassVar, NamedTuple, Protocol, Self

import numpy as np

from curr_reft.boxes import Size


class OpenRow(NamedTuple):
    """What an open row asks and what is right."""

    problem: str
    answer: str
    """What stands in the answer block of its solution."""
    image: str
    size: Size | None
    """Width and height of the stored image, `None` when it cannot be used."""


class Distractors(Protocol):
    """The answers of some rows of one kind, by the rows' positions."""

    name: ClassVar[str]

    @classmethod
    def of(cls, rows: Sequence[OpenRow]) -> Self:
        """Those of rows without a fault."""

    @staticmethod
    def fault(row: OpenRow) -> str | None:
        """Why nothing can be asked about a row, or `None`."""

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


class Texts:
    """A text each, in one line; two of them clash when they are equal but for case."""

    name: ClassVar[str] = "texts"

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts

    @classmethod
    def of(cls, rows: Sequence[OpenRow]) -> Self:
        return cls([" ".join(row.answer.split()) for row in rows])

    @staticmethod
    def fault(row: OpenRow) -> str | None:
        return None

    def spell(self, lender: int, asker: int) -> str:
        return self.texts[lender]

    def clashes(self) -> np.ndarray:
        return equal_pairs([text.casefold() for text in self.texts])

    def distances(self) -> np.ndarray:
        """Between 0 and 1, by the length."""
        lengths = np.array([len(text) for text in self.texts])
        longer = np.abs(lengths[:, None] - lengths[None])
        return longer / (1 + np.maximum(lengths[:, None], lengths[None]))

    def confirm(self, a: int, b: int, asker: int) -> bool:
        return True

    def make_up(self, row: int, count: int, rng: np.random.Generator) -> list[str] | None:
        return None


def equal_pairs(keys: Sequence[Hashable]) -> np.ndarray:
    """Boolean `[n, n]`: which keys are the same."""
    codes = {key: code for code, key in enumerate(dict.fromkeys(keys))}
    column = np.array([codes[key] for key in keys])
    return column[:, None] == column[None]
