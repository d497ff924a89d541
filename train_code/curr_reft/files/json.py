"""The reader of files that hold one JSON object."""

import json
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError

Row = dict[str, Any]
"""A JSON object that stands in a file of such, one a line as a rule."""


def read_object(path: Path, **options: Any) -> dict[str, Any]:
    """The object that a JSON file holds; `options` are others of `json.loads`.

    Raises:
        InputError: when the file cannot be read, or holds something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"), **options)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON that can be read ({error})") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(document).__name__}")
    return document
