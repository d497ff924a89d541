"""Reading a file of JSON lines, adding scores to every row, and writing it out, one row at a time."""

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from curr_reft.errors import InputError
from curr_reft.files.json import Row
from curr_reft.files.json_lines import BrokenLine, read_json_lines
from curr_reft.tasks.score import MATH_TIMEOUT, Score, incidents


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
    with tqdm(read_json_lines(path), unit=" rows", disable=None) as progress:
        for number, row in progress:
            where = f"{path}:{number}"
            try:
                scores = score_row(_checked(row))
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


def _checked(row: Any) -> Row:
    if isinstance(row, BrokenLine):
        raise InputError(row)
    if not isinstance(row, dict):
        raise InputError(f"expected a JSON object, found {type(row).__name__}")
    return row


def _encode(row: Row) -> str:
    try:
        return json.dumps(row, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise InputError(f"cannot be written as JSON ({error})") from error
