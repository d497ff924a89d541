"""What a measurement writes: a table as CSV, a record as JSON, and the figure of all task types there are."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from curr_reft.errors import InputError
from curr_reft.evaluation.pass_at_k.estimator import PassAtK
from curr_reft.evaluation.pass_at_k.figure import draw_curves
from curr_reft.evaluation.report.documents import read_pass_at_k
from curr_reft.files.atomic import replacing
from curr_reft.files.tables import Table
from curr_reft.stages import STAGES

Record = dict[str, Any]


def read_records(directory: Path) -> dict[str, Record]:
    """The records of the task types that were measured in a directory, by task type.

    Raises:
        InputError: for a file that holds no such record.
    """
    paths = {task_type: _path(directory, task_type, "json") for task_type in STAGES}
    return {task_type: _read(path) for task_type, path in paths.items() if path.exists()}


def write_results(directory: Path, record: Record, estimates: list[PassAtK]) -> None:
    """Write CSV and JSON of a measurement and draw the figure anew, each file whole or not at all.

    Args:
        record: What was measured and how; the estimates are added as its `k`.

    Raises:
        InputError: when a file cannot be written.
    """
    task_type, points = record["task_type"], [asdict(estimate) for estimate in estimates]
    with replacing(_path(directory, task_type, "csv")) as file:
        pd.DataFrame(points).to_csv(file, index=False, lineterminator="\n")
    with replacing(_path(directory, task_type, "json")) as file:
        file.write(json.dumps({**record, "k": points}, indent=2, allow_nan=False) + "\n")
    figure = draw_curves(list(read_records(directory).values()))
    for kind in ("png", "svg"):
        with replacing(directory / f"pass_at_k.{kind}", binary=True) as file:
            figure.savefig(file, format=kind, dpi=200)


def build_table(record: Record, estimates: list[PassAtK]) -> Table:
    """pass@k in percent with its 95 % interval, a row per k."""
    title = f"pass@k in percent, {record['task_type']}, {record['model']}, judged by {record['judge']}"
    rows = []
    for estimate in estimates:
        cells = ["-", "-"]
        if estimate.pass_at_k is not None:
            interval = f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}"
            cells = [f"{100 * estimate.pass_at_k:.1f}", interval]
        rows.append([str(estimate.k), *cells, str(estimate.problems)])
    return Table(title, ["k", "pass@k", "95 % interval", "problems"], rows, names=0)


def _path(directory: Path, task_type: str, suffix: str) -> Path:
    return directory / f"{task_type}_pass_at_k.{suffix}"


def _read(path: Path) -> Record:
    try:
        return read_pass_at_k(path.stem, path).record
    except InputError as error:
        raise InputError(f"{error}; move it away, it is drawn into the figure") from error
