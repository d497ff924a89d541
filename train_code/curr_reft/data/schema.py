"""Rows of the released data format, read from disk and checked.

A row has `problem`, `solution`, `task` and `image` (a path under the image root); other fields are ignored.
Texts hold no special tokens of the model, which would be read as such.
What is wrong in a file is found here, with its place, and not in the middle of a training.
"""

import functools
import logging
import os
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from curr_reft.data.row_fields import (
    IMAGE_TAG,
    LEADING_TAG,
    BadRowError,
    check_tokens,
    image_of,
    image_path,
    kind,
    problem_of,
    text_of,
)
from curr_reft.errors import InputError
from curr_reft.files.json import read_json
from curr_reft.files.json_lines import BrokenLine, read_json_lines
from curr_reft.tasks.registry import find_task

logger = logging.getLogger(__name__)

T = TypeVar("T")
_PLACE = re.compile(r":[0-9]+\Z|\[[0-9]+\]\Z")


@dataclass(frozen=True, slots=True)
class Example:
    """One checked row: what is asked, the gold answer, and the image it is about."""

    id: str
    """Where the row comes from: `FILE:LINE` in a `.jsonl` file, `FILE[INDEX]` (from 0) in a `.json` array."""
    problem: str
    """The question, without the instruction that a stage adds and without `<image>` at its start."""
    solution: str
    """The gold answer in a closed `<answer>` block, in some released files after a `<thinking>` block."""
    task: str
    """The name of a task (`curr_reft.tasks.registry`)."""
    image: Path
    """The image, resolved against the image root; neither opened nor checked here."""
    stage: str = ""
    """The name of the stage whose rows it is one of; empty for the run's (`curr_reft.stages.stage_of`)."""


class Question(NamedTuple):
    """What a row asks about which image; the fields are those of `Example`."""

    id: str
    problem: str
    image: Path


class Query(NamedTuple):
    """A question that may lack an image, an answer, or both; the fields are those of `Example`."""

    id: str
    problem: str
    solution: str | None
    image: Path | None


def iter_objects(path: Path) -> Iterator[tuple[int, Any]]:
    """The values of a `.jsonl` file with their line numbers, or of a `.json` array with their indices.

    Lines are read one by one (see `read_json_lines`), an array is read as a whole.

    Raises:
        InputError: when the file cannot be read.
    """
    if path.suffix not in (".jsonl", ".json"):
        raise InputError(f"{path}: expected a .jsonl file (one object a line) or a .json file (an array)")
    yield from enumerate(_read_array(path)) if path.suffix == ".json" else read_json_lines(path)


def place(path: Path, number: int) -> str:
    """Where in a file a row is, as messages and ids say it."""
    return f"{path}:{number}" if path.suffix == ".jsonl" else f"{path}[{number}]"


def file_of(row_id: str) -> str:
    """The file of a row whose id is a `place`."""
    return _PLACE.sub("", row_id)


def read_examples(path: Path, image_root: Path) -> list[Example]:
    """All rows of a file as a list; see `iter_examples`."""
    return list(iter_examples(path, image_root))


def iter_examples(path: Path, image_root: Path) -> Iterator[Example]:
    """The rows of a `.jsonl` file (one object a line) or a `.json` file (an array of objects), checked.

    Raises:
        InputError: at once when the file cannot be read; at the end when rows are bad (the first of them with
            its place and field, and the number of the others), when an `id` occurs twice, or without any row.
    """
    return _checked(path, functools.partial(_example, image_root=os.path.abspath(image_root)))


def iter_questions(path: Path, image_root: Path) -> Iterator[Question]:
    """The questions of a file whose rows have a `problem` and an `image`, whatever else they lack.

    Raises:
        InputError: as `iter_examples` does.
    """
    return _checked(path, functools.partial(_question, image_root=os.path.abspath(image_root)))


def iter_queries(path: Path, image_root: Path) -> Iterator[Query]:
    """The rows of a file that need no more than a `problem`; an empty or null field is one that is not there.

    Raises:
        InputError: as `iter_examples` does.
    """
    return _checked(path, functools.partial(_query, image_root=os.path.abspath(image_root)))


def _checked(path: Path, convert: Callable[[str, Any], T]) -> Iterator[T]:
    bad: list[str] = []
    ids = _Ids()
    empty = True
    tagged = 0
    for number, row in iter_objects(path):
        empty = False
        try:
            if isinstance(row, BrokenLine):
                raise BadRowError(row)
            if not isinstance(row, dict):
                raise BadRowError(f"expected an object, found {kind(row)}")
            yield convert(place(path, number), row)
            ids.add(number, row)
            tagged += LEADING_TAG.match(row["problem"]) is not None
        except BadRowError as error:
            bad.append(f"{place(path, number)}: {error}")
    bad += [
        f"{place(path, second)}: id: the one of {place(path, first)} again" for first, second in ids.repeats()
    ]
    if bad:
        more = len(bad) - 1
        raise InputError(bad[0] + (f" (and {more} more bad row{'s' if more > 1 else ''})" if more else ""))
    if empty:
        raise InputError(f"{path}: the file has no rows")
    if tagged:
        _note_tags(path, tagged)


@functools.cache
def _note_tags(path: Path, rows: int) -> None:
    """Say it once of a file, which evaluation reads again for each checkpoint."""
    logger.warning(
        "%s: %s taken off the start of %d problems: the image is there anyway", path, IMAGE_TAG, rows
    )


class _Ids:
    """The ids that rows carry, 16 bytes each."""

    def __init__(self) -> None:
        self._hashes, self._numbers = array("q"), array("q")

    def add(self, number: int, row: dict[str, Any]) -> None:
        if "id" in row:
            self._hashes.append(hash(str(row["id"])))
            self._numbers.append(number)

    def repeats(self) -> list[tuple[int, int]]:
        """Numbers of rows with the same id: an earlier and the next later one."""
        hashes, numbers = np.array(self._hashes, dtype=np.int64), np.array(self._numbers, dtype=np.int64)
        order = np.argsort(hashes, kind="stable")
        same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
        return sorted((int(numbers[order[i]]), int(numbers[order[i + 1]])) for i in same)


def _read_array(path: Path) -> list[Any]:
    rows = read_json(path, hint="a file with one object a line must be named .jsonl")
    if not isinstance(rows, list):
        raise InputError(f"{path}: expected an array of rows, found {kind(rows)}")
    return rows


def _question(row_id: str, row: Any, image_root: str) -> Question:
    if isinstance(row.get("solution"), str):
        check_tokens(row["solution"], "solution")
    return Question(row_id, problem_of(row), image_path(image_root, image_of(row)))


def _query(row_id: str, row: Any, image_root: str) -> Query:
    solution = text_of(row, "solution") if row.get("solution") not in (None, "") else None
    if solution is not None:
        check_tokens(solution, "solution")
    image = image_path(image_root, image_of(row)) if row.get("image") not in (None, "", []) else None
    problem = problem_of(row)
    if image is None and problem != row["problem"]:
        raise BadRowError(f"problem: starts with {IMAGE_TAG}, and the row has no image")
    return Query(row_id, problem, solution, image)


def _example(row_id: str, row: Any, image_root: str) -> Example:
    question = _question(row_id, row, image_root)
    solution = text_of(row, "solution")
    task = text_of(row, "task")
    try:
        task = find_task(task).name
    except InputError as error:
        raise BadRowError(f"task: {error}") from error
    opened = solution.find("<answer>")
    if opened < 0 or "</answer>" not in solution[opened:]:
        raise BadRowError("solution: no closed <answer>...</answer> block")
    return Example(row_id, question.problem, solution, task, question.image)
