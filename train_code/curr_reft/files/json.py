"""The readers of files that hold one JSON document."""

import json
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError

Row = dict[str, Any]
"""A JSON object that stands in a file of such, one a line as a rule."""


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without the byte order mark that Windows editors put before it.

    Raises:
        InputError: when it cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (at byte {error.start})") from error


def read_json(path: Path, hint: str = "", **options: Any) -> Any:
    """The document of a JSON file; `options` are others of `json.loads`, `hint` is said of one that is none.

    Raises:
        InputError: when the file cannot be read or is no JSON.
    """
    try:
        return json.loads(read_text(path), **options)
    # A ValueError that is no JSONDecodeError comes from an integer of thousands of digits.
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: broken JSON: {error}{hint and f' ({hint})'}") from error


def read_object(path: Path, **options: Any) -> dict[str, Any]:
    """The object that a JSON file holds, as `read_json` reads it.

    Raises:
        InputError: when the file cannot be read, or holds something else.
    """
    document = read_json(path, **options)
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(document).__name__}")
    return document
