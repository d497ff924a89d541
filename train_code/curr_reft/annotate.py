"""Reading a file of JSON lines, adding to every row, and writing it to standard output, one row at a time."""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from curr_reft.errors import InputError
from curr_reft.rewards.score import Score

Row = dict[str, Any]


def annotate_file(path: Path, annotate: Callable[[Row], tuple[Row, list[Score]]]) -> None:
    """Write every row of a file as `annotate` returns it, in order and in constant memory.

    `annotate` gives the new row and the scores it rests on, whose incidents are counted on standard error.
    A line it cannot take (an `InputError`) writes nothing and is reported there as ``FILE:LINE: …``.

    Raises:
        InputError: at the end when a line was bad, at once for a file that cannot be read or is not text.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    incidents: Counter[str] = Counter()
    bad_lines = 0
    with file, tqdm(total=os.path.getsize(path), unit="B", unit_scale=True, disable=None) as progress:
        # peek does not move the position.
        if b"\0" in file.peek(1024):
            raise InputError(f"{path}: a binary file, not JSON lines")
        for number, line in enumerate(file, start=1):
            progress.update(len(line))
            if line.isspace():
                continue
            try:
                row, scores = annotate(_parse(line))
            except InputError as error:
                bad_lines += 1
                progress.write(f"{path}:{number}: {error}", file=sys.stderr)
                continue
            for score in scores:
                if score.incident:
                    incidents[score.incident] += 1
            sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()
    for incident, count in sorted(incidents.items()):
        sys.stderr.write(f"{incident}: {count} rows\n")
    if bad_lines:
        raise InputError(f"{path}: {bad_lines} lines were not scored (named above)")


def required(row: Row, field: str, kind: type) -> Any:
    """A field of a row.

    Raises:
        InputError: when the row has no such field, or one of another type.
    """
    if not isinstance(row.get(field), kind):
        found = type(row[field]).__name__ if field in row else "nothing"
        raise InputError(f"{field}: expected {kind.__name__}, found {found}")
    return row[field]


def _parse(line: bytes) -> Row:
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text ({error.reason})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise InputError(f"expected a JSON object, found {type(row).__name__}")
    return row
