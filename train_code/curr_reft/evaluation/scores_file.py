"""`scores.json`: what an evaluation folder says about one model."""

import json
import logging
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError
from curr_reft.files.atomic import replacing
from curr_reft.files.json import read_object
from curr_reft.files.manifest import environment
from curr_reft.files.tables import Table

logger = logging.getLogger(__name__)

FILE_NAME = "scores.json"
_SHOWN = ("accuracy", "low", "high", "overlap", "released", "unparsed", "truncated")


def read_scores(folder: Path) -> dict[str, Any] | None:
    """The record of an evaluation folder, `None` where there is none.

    Raises:
        InputError: when the file is there but is no such record.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    record = read_object(path)
    scores = record.get("scores")
    if not isinstance(scores, dict) or not all(
        isinstance(score, dict) and {"n", *_SHOWN} <= score.keys() for score in scores.values()
    ):
        raise InputError(f"{path}: not the scores of an evaluation; move it away")
    return record


def add_scores(folder: Path, about: dict[str, Any], suite: str, entry: dict[str, Any]) -> None:
    """Put a suite's scores beside those of the other suites of the same weights; others are taken out."""
    before = read_scores(folder)
    scores = before["scores"] if before else {}
    if before and before.get("model_digest") != about["model_digest"]:
        logger.warning("%s: held scores of other weights, which are taken out", folder / FILE_NAME)
        scores = {}
    record = {**about, "scores": {**scores, suite: entry}, **environment()}
    with replacing(folder / FILE_NAME) as file:
        file.write(json.dumps(record, indent=2, allow_nan=False) + "\n")


def scores_table(folder: Path) -> Table:
    """The scores of an evaluation folder, a row for each suite."""
    record = read_scores(folder)
    title = f"{record['name']}: percent right, strict [95 % interval], tolerant, and by the released rules"
    columns = ["suite", "n", "strict", "tolerant", "released", "mean IoU", "unparsed", "cut off"]
    rows = []
    for name, score in record["scores"].items():
        strict = "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * score[key] for key in ("accuracy", "low", "high")))
        overlap = "" if score["overlap"] is None else f"{score['overlap']:.3f}"
        # The release scored no tasks but the paper's.
        released = "" if score["released"] is None else f"{100 * score['released']:.1f}"
        others = [f"{100 * score[key]:.1f}" for key in ("unparsed", "truncated")]
        # Scores written before there was such a reading have none.
        tolerant = f"{100 * score['tolerant']:.1f}" if "tolerant" in score else "not scored"
        rows.append([name, str(score["n"]), strict, tolerant, released, overlap, *others])
    return Table(title, columns, rows)
