"""Writing rows in the released form: whole files, unique ids, and no bad record without a word."""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from curr_reft.errors import InputError
from curr_reft.files.atomic import replacing
from curr_reft.files.json import Row
from curr_reft.files.text import surrogate_fault, visible

logger = logging.getLogger(__name__)

_LISTED = 20


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot become a row."""

    where: str
    """Its place in the source: `FILE:LINE`, `FILE: annotation 17`."""
    reason: str


def make_row(row_id: str, problem: str, answer: str, task: str, image: str) -> Row:
    """A row of the released form; `id`, which names the source's record, is ours.

    `image` is relative to the image root.
    """
    return {
        "id": row_id,
        "problem": problem,
        "solution": f"<answer>{answer}</answer>",
        "task": task,
        "image": image,
    }


def write_rows(path: Path, outcomes: Iterable[Row | BadRecord], drop_bad_rows: bool | None = False) -> int:
    """Write rows to a `.jsonl` file (one a line) or a `.json` file (an array), and return how many.

    Bad records, and rows whose `id` another row has, are listed in the log; `drop_bad_rows` is the flag of
    that name, `None` where a command has none. The file at `path` is replaced only when all went well.

    Raises:
        InputError: when there is a bad record and `drop_bad_rows` is false, when no row is left, or when the
            file cannot be written.
    """
    if path.suffix not in (".jsonl", ".json"):
        raise InputError(f"{path}: name it .jsonl (one row a line) or .json (an array)")
    start, between, end = ("", "\n", "\n") if path.suffix == ".jsonl" else ("[\n", ",\n", "\n]\n")
    ids: set[str] = set()
    rows = bad = 0
    with replacing(path) as file:
        for outcome in outcomes:
            if isinstance(outcome, dict) and str(outcome.get("id", "")) in ids:
                outcome = BadRecord(str(outcome["id"]), "another row has this id")
            if isinstance(outcome, dict):
                text = json.dumps(outcome, ensure_ascii=False)
                if surrogate_fault(text):
                    outcome = BadRecord(
                        str(outcome.get("id", text[:80])), "an unpaired surrogate in its text"
                    )
            if isinstance(outcome, BadRecord):
                bad += 1
                if bad <= _LISTED:
                    logger.warning("%s: %s", visible(outcome.where), outcome.reason)
                continue
            if "id" in outcome:
                ids.add(str(outcome["id"]))
            file.write((between if rows else start) + text)
            rows += 1
        file.write(end)
        if bad > _LISTED:
            logger.warning("and %d more", bad - _LISTED)
        if bad and not drop_bad_rows:
            choice = "" if drop_bad_rows is None else ", or leave them out with --drop_bad_rows"
            counts = f"{bad} of {rows + bad} records are bad (listed above)"
            raise InputError(f"{path}: not written: {counts}; mend them{choice}")
        if not rows:
            raise InputError(f"{path}: not written: no row is left")
    logger.info("%s: %d rows%s", path, rows, f", {bad} bad records left out" if bad else "")
    return rows
