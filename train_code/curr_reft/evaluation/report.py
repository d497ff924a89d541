"""One table from several evaluations: a row per checkpoint, a column per task."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from curr_reft.command_line import CommandParser
from curr_reft.errors import InputError, command
from curr_reft.stages import TASKS

TITLES = {"detection": "detection", "classify": "classification", "math": "math"}


def load_scores(directory: Path, domain: str) -> dict[str, dict]:
    """The scores of one evaluation by task, for one domain.

    Raises:
        InputError: when the directory holds no evaluation, or not every task of the domain.
    """
    try:
        scores = json.loads((directory / "scores.json").read_text(encoding="utf-8"))["scores"]
    except OSError as error:
        raise InputError(
            f"{directory}: holds no scores.json ({error.strerror}); run eval/evaluate.py"
        ) from error
    by_task = {score["task"]: score for score in scores.values() if score["domain"] == domain}
    if missing := [task for task in TASKS if task not in by_task]:
        raise InputError(f"{directory}: scores.json has no {domain}-domain scores for {', '.join(missing)}")
    return by_task


def _cell(score: dict) -> str:
    keys = ("accuracy", "low", "high", "released")
    return "{:.1f} [{:.1f}, {:.1f}] ({:.1f})".format(*(100 * score[key] for key in keys))


def build_table(rows: dict[str, dict[str, dict]], domain: str) -> Table:
    """Strict accuracy in percent with its 95 % interval, and the released, per checkpoint and task.

    The mean is of the strict ones.
    """
    title = f"Strict accuracy in percent, {domain}-domain, [95 % interval], (released scoring)"
    table = Table(title=title, title_justify="left")
    table.add_column("model")
    first = next(iter(rows.values()))
    for task in TASKS:
        table.add_column(f"{TITLES[task]} (n={first[task]['n']})", justify="right")
    table.add_column("mean", justify="right")
    for name, scores in rows.items():
        cells = [_cell(scores[task]) for task in TASKS]
        mean = sum(scores[task]["accuracy"] for task in TASKS) / len(TASKS)
        table.add_row(name, *cells, f"{100 * mean:.1f}")
    return table


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Print the table to standard output."""
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        "evaluations", nargs="+", metavar="NAME=DIR", help="a row's name and its evaluation's folder"
    )
    parser.add_argument("--domain", choices=("in", "out"), default="in")
    arguments = parser.parse_args(argv)
    rows = {}
    for argument in arguments.evaluations:
        name, separator, directory = argument.partition("=")
        if not separator:
            raise InputError(f"{argument}: expected NAME=DIR")
        rows[name] = load_scores(Path(directory), arguments.domain)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(build_table(rows, arguments.domain))
    for name, scores in rows.items():
        for task, score in scores.items():
            for incident, count in score["incidents"].items():
                console.print(f"{name}, {TITLES[task]}: {incident} in {count} rows", markup=False)
