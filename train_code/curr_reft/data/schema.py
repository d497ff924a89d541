"""Rows of the released data format, read from disk and checked.

A row has `problem`, `solution`, `task` and `image` (a path under the image root); other fields are ignored.
What is wrong in a file is found here, with its place, and not in the middle of a training.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError
from curr_reft.stages import TASKS

_TASK_SPELLINGS = {**{task: task for task in TASKS}, "classification": "classify"}
_JSON_NAMES = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", list: "an array"}


@dataclass(frozen=True, slots=True)
class Example:
    """One checked row: what is asked, the gold answer, and the picture it is about."""

    id: str
    """Where the row comes from: `FILE:LINE` in a `.jsonl` file, `FILE[INDEX]` (from 0) in a `.json` array."""
    problem: str
    """The question, without the instruction that a stage adds."""
    solution: str
    """The gold answer in a closed `<answer>` block, in some released files after a `<thinking>` block."""
    task: str
    """One of `stages.TASKS`."""
    image: Path
    """The picture, resolved against the image root; neither opened nor checked here."""


class _BadRowError(ValueError):
    """A row breaks the schema; the message says which field and how, the caller adds where."""


def read_examples(path: Path, image_root: Path) -> list[Example]:
    """Read every row of a `.jsonl` file (one object a line) or a `.json` file (an array of objects).

    Raises `InputError` when the file cannot be read or has no rows, and when rows are bad: the first of them
    with its place and field, and the number of the others.
    """
    if path.suffix not in (".jsonl", ".json"):
        raise InputError(f"{path}: expected a .jsonl file (one object a line) or a .json file (an array)")
    text = _read_text(path)
    by_line = path.suffix == ".jsonl"
    examples: list[Example] = []
    bad: list[str] = []
    for row_id, row in _lines(path, text) if by_line else _array(path, text):
        try:
            examples.append(_example(row_id, _decode(row) if by_line else row, image_root))
        except _BadRowError as error:
            bad.append(f"{row_id}: {error}")
    if bad:
        more = len(bad) - 1
        raise InputError(bad[0] + (f" (and {more} more bad row{'s' if more > 1 else ''})" if more else ""))
    if not examples:
        raise InputError(f"{path}: the file has no rows")
    return examples


def _read_text(path: Path) -> str:
    try:
        # Windows editors start a file with a byte order mark, which is no part of its JSON.
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (at byte {error.start}), so not a JSON file") from error


def _lines(path: Path, text: str) -> Iterator[tuple[str, str]]:
    # Not splitlines(): it also cuts at U+2028 and others, which JSON strings may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", line


def _array(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    try:
        rows = json.loads(text)
    # A ValueError that is no JSONDecodeError comes from an integer of thousands of digits.
    except (ValueError, RecursionError) as error:
        hint = "a file with one object a line must be named .jsonl"
        raise InputError(f"{path}: broken JSON: {error} ({hint})") from error
    if not isinstance(rows, list):
        raise InputError(f"{path}: expected an array of rows, found {_kind(rows)}")
    for index, row in enumerate(rows):
        yield f"{path}[{index}]", row


def _decode(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise _BadRowError(f"broken JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise _BadRowError(f"broken JSON: {error}") from error


def _example(row_id: str, row: Any, image_root: Path) -> Example:
    if not isinstance(row, dict):
        raise _BadRowError(f"expected an object, found {_kind(row)}")
    problem = _text(row, "problem")
    solution = _text(row, "solution")
    task = _text(row, "task")
    if task not in _TASK_SPELLINGS:
        raise _BadRowError(f"task: unknown task {task!r}; known are {', '.join(_TASK_SPELLINGS)}")
    opened = solution.find("<answer>")
    if opened < 0 or "</answer>" not in solution[opened:]:
        raise _BadRowError("solution: no closed <answer>...</answer> block")
    return Example(row_id, problem, solution, _TASK_SPELLINGS[task], _image_path(image_root, _image(row)))


def _image_path(image_root: Path, image: str) -> Path:
    """The picture's absolute path; `..` is resolved by name, so a link below the root may lead anywhere."""
    root = os.path.abspath(image_root)
    path = os.path.abspath(os.path.join(root, image))
    if not path.startswith(os.path.join(root, "")):
        raise _BadRowError(f"image: {image!r} is not below the image root {image_root}")
    return Path(path)


def _text(row: dict[str, Any], field: str) -> str:
    if field not in row:
        raise _BadRowError(f"{field}: missing")
    return _checked_text(row[field], field)


def _checked_text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise _BadRowError(f"{field}: expected a string, found {_kind(value)}")
    if not value.strip():
        raise _BadRowError(f"{field}: empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # JSON can spell half of a surrogate pair, and tokenizers stop at it.
        raise _BadRowError(f"{field}: unpaired surrogate at character {error.start}") from error
    return value


def _image(row: dict[str, Any]) -> str:
    """The one picture of a row, which some released files give as a list of one."""
    image = row.get("image")
    if image is None or image in ("", []):
        raise _BadRowError("image: the row has no picture; rows of text alone are not supported")
    if isinstance(image, list):
        if len(image) > 1:
            raise _BadRowError(f"image: expected one picture, found {len(image)}")
        image = image[0]
    return _checked_text(image, "image")


def _kind(value: Any) -> str:
    return _JSON_NAMES.get(type(value), "a string" if isinstance(value, str) else "an object")
