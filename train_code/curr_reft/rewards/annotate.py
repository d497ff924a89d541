"""Reading a file of JSON lines, adding scores to every row, and writing it out, one row at a time."""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from curr_reft.errors import InputError
from curr_reft.tasks.score import MATH_TIMEOUT, Score, incidents

Row = dict[str, Any]


def annotate_file(path: Path, score_row: Callable[[Row], dict[str, Score]], explain: bool) -> None:
    """Write every row of a file with its scores to standard output, in order and in constant memory.

    A line that is no row, or that `score_row` refuses with an `InputError`, writes nothing and is reported on
    standard error as ``FILE:LINE: what is wrong``; so is a row on which math-verify ran out of time. The
    scores' incidents are counted at the end.

    Raises:
        InputError: at the end when a line was bad, at once for a file that cannot be read or is not text.
    """
    counts: Counter[str] = Counter()
    bad_lines = 0
    with tqdm(unit="B", unit_scale=True, disable=None) as progress:
        for number, line in enumerate(_lines(path, progress), start=1):
            if line.isspace():
                continue
            where = f"{path}:{number}"
            try:
                row = _parse(line)
                scores = score_row(row)
                text = _encode(add_scores(row, scores, explain))
            except InputError as error:
                bad_lines += 1
                progress.write(f"{where}: {error}", file=sys.stderr)
                continue
            counts.update(incidents(scores))
            for name, score in scores.items():
                if score.incident == MATH_TIMEOUT:
                    progress.write(f"{where}: {name}: math-verify ran out of time", file=sys.stderr)
            sys.stdout.write(text + "\n")
    sys.stdout.flush()
    for incident, count in sorted(counts.items()):
        sys.stderr.write(f"{incident}: {count} rows\n")
    if bad_lines:
        raise InputError(f"{path}: {bad_lines} lines were not scored (named above)")


def add_scores(row: Row, scores: dict[str, Score], explain: bool) -> Row:
    """The row with each score's reward under its name and, to `explain`, what was read and the rule."""
    rewards = {
        name: int(score.reward) if score.reward in (0, 1) else score.reward for name, score in scores.items()
    }
    explanation = {name: score.explanation() for name, score in scores.items()}
    return {**row, **rewards, **({"explanation": explanation} if explain else {})}


def required(row: Row, field: str, kind: type) -> Any:
    """A field of a row.

    Raises:
        InputError: when the row has no such field, or one of another type.
    """
    if not isinstance(row.get(field), kind):
        found = type(row[field]).__name__ if field in row else "nothing"
        raise InputError(f"{field}: expected {kind.__name__}, found {found}")
    return row[field]


def _lines(path: Path, progress: tqdm) -> Iterator[bytes]:
    """The lines of a text file; blank ones come too, so that they are counted."""
    try:
        with path.open("rb") as file:
            progress.reset(total=os.fstat(file.fileno()).st_size)
            _check_text(path, file)
            for line in file:
                progress.update(len(line))
                yield line
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _check_text(path: Path, file: BinaryIO) -> None:
    start = file.peek(1024)[:1024]
    try:
        start.partition(b"\n")[0].decode()
    except UnicodeDecodeError as error:
        # A character may have been cut by the limit.
        if error.start < len(start) - 4:
            raise InputError(f"{path}: a binary file, not JSON lines") from error
    if b"\0" in start:
        raise InputError(f"{path}: a binary file, not JSON lines")


def _parse(line: bytes) -> Row:
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text ({error.reason})") from error
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON ({error.msg}, column {error.pos + 1})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON that can be read ({error})") from error
    if not isinstance(row, dict):
        raise InputError(f"expected a JSON object, found {type(row).__name__}")
    return row


def _encode(row: Row) -> str:
    try:
        return json.dumps(row, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise InputError(f"cannot be written as JSON ({error})") from error
