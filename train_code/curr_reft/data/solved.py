"""Rows that a model always or never gets right, by the scores of its own answers (``--filter_solved``).

The scores are those that `python -m curr_reft.self_improvement.judge` leaves in ``scores.jsonl``, a JSON
object for each answer, of which two fields are read:

    {"id": "shapes_math/train/open/math_train.jsonl:7#0", "accuracy": 100.0, …}

`id` is ``SOURCE/FILE:LINE#SAMPLE`` (``FILE[INDEX]`` in a JSON array), FILE as the mixture spells its
`json_path`: candidates are sampled from the mixture's own files, under the same data root and with the stage
that is to be trained. `accuracy` is from 0 to 100, `null` for an answer that the judge gave no scores. An id
that comes again counts as it comes last. An answer is right above 50; rules give 100 or 0.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curr_reft.data.schema import Example, place
from curr_reft.errors import InputError
from curr_reft.files.json_lines import BrokenLine, read_json_lines

_RIGHT_ABOVE = 50
# One answer says neither always nor never.
_FEWEST_ANSWERS = 2
_ANSWER = re.compile(r"[^/]+/(.+)#[0-9]+", re.DOTALL)


@dataclass(frozen=True)
class Solved:
    """What a model's answers say of training rows; one that is in the mixture twice counts twice."""

    left_out: frozenset[str] = frozenset()
    """Ids of the rows it always or never gets right."""
    always: int = 0
    never: int = 0
    unknown: int = 0
    """Rows with fewer than two scored answers, which are kept."""

    def counts(self) -> dict[str, int]:
        """The numbers by what they are, as plan and manifest say them."""
        return {
            "left out, always right": self.always,
            "left out, never right": self.never,
            "kept without two scored answers": self.unknown,
        }


def find_solved(scores: str | None, rows: Iterable[Example], data_root: str) -> Solved:
    """Which training rows teach nothing by a file of scores; none without a file.

    Args:
        scores: See above.
        rows: With ids below `data_root`.

    Raises:
        InputError: for a file that cannot be read, a line that holds no score, and when no row of the mixture
            has scores or none is left.
    """
    if scores is None:
        return Solved()
    right_answers = _right_answers(Path(scores), data_root)
    left_out: set[str] = set()
    named = always = never = unknown = mixed = 0
    for row in rows:
        right = right_answers.get(_below(row.id, data_root), [])
        named += len(right) > 0
        if len(right) < _FEWEST_ANSWERS:
            unknown += 1
        elif len(set(right)) == 1:
            left_out.add(row.id)
            always += right[0]
            never += not right[0]
        else:
            mixed += 1
    if not named:
        raise InputError(
            f"--filter_solved {scores}: names no training row of the mixture: sample candidates from the"
            " mixture's own files, under the same data root"
        )
    if not unknown + mixed:
        raise InputError(
            f"--filter_solved {scores}: leaves no row: {always} are always right and {never} never"
        )
    return Solved(frozenset(left_out), always, never, unknown)


def _right_answers(path: Path, data_root: str) -> dict[str, list[bool]]:
    """Which scored answers to a row are right, by the row's place below the data root."""
    accuracies: dict[str, float | None] = {}
    for number, row in read_json_lines(path):
        if fault := _fault(row):
            raise InputError(f"{place(path, number)}: {fault}")
        accuracies[row["id"]] = row["accuracy"]
    found = defaultdict(list)
    for answer, accuracy in accuracies.items():
        if accuracy is not None:
            found[_below(_ANSWER.fullmatch(answer)[1], data_root)].append(accuracy > _RIGHT_ABOVE)
    return found


def _fault(row: Any) -> str | None:
    """What keeps a line from being the scores of an answer."""
    if isinstance(row, BrokenLine):
        return str(row)
    if not isinstance(row, dict) or not {"id", "accuracy"} <= row.keys():
        return "no id and accuracy, as python -m curr_reft.self_improvement.judge writes them to scores.jsonl"
    if not isinstance(row["id"], str) or not _ANSWER.fullmatch(row["id"]):
        return f"id: expected SOURCE/FILE:LINE#SAMPLE, found {row['id']!r}"
    accuracy = row["accuracy"]
    # A boolean is an int, and NaN fails every comparison.
    if accuracy is not None and not (type(accuracy) in (int, float) and 0 <= accuracy <= 100):
        return f"accuracy: expected a number from 0 to 100 or null, found {accuracy!r}"
    return None


def _below(row_place: str, data_root: str) -> str:
    return os.path.normpath(row_place).removeprefix(os.path.normpath(data_root) + os.sep)
