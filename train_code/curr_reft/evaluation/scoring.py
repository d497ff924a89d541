"""Score predictions under two readings and as released.

``python -m curr_reft.evaluation.scoring --suite SUITE FILE``: rows have `model_output` and `example` (the
dataset row); `strict`, `tolerant` and `released` are added, 1 or 0 each, other fields pass through.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scipy.stats import binomtest

from curr_reft.answers.reading import READINGS
from curr_reft.errors import InputError, command
from curr_reft.files.cli import CommandParser
from curr_reft.files.json import Row
from curr_reft.rewards import released_evaluation
from curr_reft.rewards.annotate import add_scores, annotate_file, required
from curr_reft.rewards.format import score_format
from curr_reft.tasks.registry import add_tasks_flag, scorings
from curr_reft.tasks.score import Score, incidents


@dataclass(frozen=True)
class Accuracy:
    """Strict accuracy over `n` rows with its 95 % Wilson interval, and what stands beside it."""

    n: int
    accuracy: float
    low: float
    high: float
    tolerant: float
    """Accuracy on the same completions of what a sensible person would read in them."""
    released: float | None
    """The released evaluator's accuracy on the same completions; `None` for what it did not score."""
    overlap: float | None
    """Mean IoU of boxes or label sets; `None` for tasks without."""
    unparsed: float
    """The share of completions without an answer of the kind that was asked for."""
    truncated: float
    """The share of completions that the limit of tokens ended."""
    format: float
    """The share of well-formed completions."""
    incidents: dict[str, int]
    """Counts of rows by what went wrong with them (`curr_reft.tasks.score`)."""


def score_predictions(suite: str, predictions: Sequence[Row]) -> tuple[list[Row], Accuracy]:
    """Predictions with their scores and the reasons for them, and the accuracy over all of them.

    A prediction has `model_output`, `example` and `truncated`; added are `strict`, `tolerant`,
    `released`, `overlap`, `parsed` and `explanation`.

    Raises:
        InputError: when a row lacks a field.
    """
    task, scoring = scorings()[suite]
    rows: list[Row] = []
    counts: Counter[str] = Counter()
    for prediction in predictions:
        scores = score_row(suite, prediction)
        counts.update(incidents(scores))
        row = add_scores(prediction, scores, explain=True)
        row["overlap"] = scores["strict"].overlap
        row["parsed"] = scoring.is_parsed(row["model_output"])
        rows.append(row)
    n = len(rows)
    right = sum(row["strict"] for row in rows)
    interval = binomtest(right, n).proportion_ci(confidence_level=0.95, method="wilson")
    overlaps = [row["overlap"] for row in rows if row["overlap"] is not None]
    return rows, Accuracy(
        n=n,
        accuracy=right / n,
        low=interval.low,
        high=interval.high,
        tolerant=sum(row["tolerant"] for row in rows) / n,
        released=sum(row["released"] for row in rows) / n if "released" in rows[0] else None,
        overlap=sum(overlaps) / len(overlaps) if overlaps else None,
        unparsed=sum(not row["parsed"] for row in rows) / n,
        truncated=sum(row["truncated"] for row in rows) / n,
        format=sum(score_format("open", task.name, row["model_output"]).reward for row in rows) / n,
        incidents=dict(counts),
    )


def score_row(suite: str, row: Row) -> dict[str, Score]:
    """The strict, the tolerant and, where the release scored such rows, the released score of a row.

    The options that its problem lists, in the row or in its example, help the tolerant reading.

    Raises:
        InputError: when the row lacks a field.
    """
    output, example = required(row, "model_output", str), required(row, "example", dict)
    problem = row.get("problem", example.get("problem"))
    problem = problem if isinstance(problem, str) else ""
    _, scoring = scorings()[suite]
    if scoring.fields[0] not in example:
        raise InputError(f"example: holds no {scoring.fields[0]}")
    strict, tolerant = (scoring.score(output, example, reading, problem) for reading in READINGS)
    if tolerant.incident == strict.incident:
        # It is the row's, and counted once.
        tolerant = tolerant._replace(incident=None)
    scores = {"strict": strict, "tolerant": tolerant}
    if suite in released_evaluation.SCORERS:
        scores["released"] = released_evaluation.score(suite, output, example)
    return scores


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the scored rows to standard output."""
    parser = CommandParser(prog="python -m curr_reft.evaluation.scoring", description=__doc__)
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS.jsonl")
    parser.add_argument("--suite", required=True, metavar="SCORING", help="its rules, such as detection_in")
    add_tasks_flag(parser)
    parser.add_argument(
        "--explain", action="store_true", help="add what was parsed and the rule that applied"
    )
    arguments = parser.parse_args(argv)
    if arguments.suite not in scorings():
        raise InputError(f"--suite {arguments.suite}: use one of {', '.join(scorings())}")
    annotate_file(arguments.predictions, partial(score_row, arguments.suite), arguments.explain)


if __name__ == "__main__":
    main()
