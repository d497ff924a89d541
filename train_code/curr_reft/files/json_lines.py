"""The reader of files that hold one JSON value a line."""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError


class BrokenLine(str):
    """The reason why a line is no JSON."""


def read_json_lines(path: Path, **options: Any) -> Iterator[tuple[int, Any]]:
    """The values of a file with their line numbers (from 1), read one by one; blank lines are passed over.

    A line that is no JSON comes as a `BrokenLine`. `options` are others of `json.loads`; a `ValueError` that
    a hook among them raises breaks the line, too.

    Raises:
        InputError: when the file cannot be read, or is not UTF-8 text from its first line on.
    """
    try:
        # In bytes lines end at newlines alone: U+2028 and others, at which text is also split, may stand in
        # JSON strings.
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number == 1:
                    # Windows editors start a file with a byte order mark, which is no part of its JSON.
                    line = line.removeprefix(codecs.BOM_UTF8)
                    line.decode()
                if line.strip():
                    yield number, _value(line, options)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason}), so not a JSON file") from error


def _value(line: bytes, options: dict[str, Any]) -> Any:
    try:
        return json.loads(line.rstrip(b"\r\n").decode(), **options)
    except UnicodeDecodeError as error:
        return BrokenLine(f"not UTF-8 text ({error.reason})")
    except json.JSONDecodeError as error:
        return BrokenLine(f"broken JSON: {error.msg} at column {error.colno}")
    # A ValueError that is neither comes from an integer of thousands of digits, or from a hook.
    except (ValueError, RecursionError) as error:
        return BrokenLine(f"broken JSON: {error}")
