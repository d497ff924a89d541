"""Classification: the labels of what an image shows."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from curr_reft.answers.labels import parse_labels
from curr_reft.answers.reading import LABELS
from curr_reft.tasks.distractors import OpenRow
from curr_reft.tasks.rule import Rule
from curr_reft.tasks.score import Score
from curr_reft.tasks.task import Scoring, Task

_SHORTEST_LIST = 3
_LONGEST_LABEL = 40


def score_classify(labels: frozenset[str], gold: frozenset[str]) -> Score:
    """Eq. 5: |P ∩ G| / |P ∪ G| on label sets."""  # noqa: RUF002
    return Score(len(labels & gold) / len(labels | gold), "eq. 5: IoU of label sets", labels, gold)


def _with_iou(score: Score) -> Score:
    rule = f"label sets, equal or not; their IoU is {score.reward:.3f}"
    return score._replace(rule=rule, overlap=score.reward)


def listed_labels(problem: str) -> frozenset[str]:
    """The labels after a problem's last colon, as in `Which of these are there: cat, dog, bus?`, or none."""
    found = parse_labels(re.split(r"[?.\n]", problem.rpartition(":")[2], maxsplit=1)[0])
    is_list = len(found) >= _SHORTEST_LIST and all(len(label) <= _LONGEST_LABEL for label in found)
    return found if is_list and ":" in problem else frozenset()


@dataclass(frozen=True)
class Labels:
    """A label set each."""

    name: ClassVar[str] = "labels"

    sets: list[frozenset[str]]
    listed: frozenset[str]
    """Labels that the problems list; where no other row's labels serve, these are wrong ones as well."""

    @classmethod
    def of(cls, rows: Sequence[OpenRow]) -> Self:
        listed = [listed_labels(row.problem) for row in rows]
        return cls([parse_labels(row.answer) for row in rows], frozenset().union(*listed))

    @staticmethod
    def fault(row: OpenRow) -> str | None:
        return None if parse_labels(row.answer) else "solution: an empty label set"

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


_RULES = (Rule(LABELS, score_classify, "label", "labels, as in <answer>person, traffic light</answer>"),)
TASK = Task(
    name="classify",
    title="classification",
    aliases=("classification",),
    rules=_RULES,
    distractors=lambda row: Labels,
    endings={
        "letters": " Based on the given options, select all options that accurately describe what is shown in"
        " the image. Ensure your final answer is exactly one or more of the provided option letters without"
        " any additional text."
    },
    scorings=tuple(
        Scoring(name=name, rules=_RULES, detail=_with_iou) for name in ("classify_in", "classify_out")
    ),
)
