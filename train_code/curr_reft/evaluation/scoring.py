"""Score predictions, strictly and as released: ``python -m curr_reft.evaluation.scoring --suite SUITE FILE``.

Rows have `model_output` and `example` (the dataset row); `strict` and `released` are added, 1 or 0 each,
other fields pass through.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scipy.stats import binomtest

from curr_reft.annotate import Row, annotate_file, required
from curr_reft.command_line import CommandParser
from curr_reft.errors import InputError, command
from curr_reft.evaluation import released, strict
from curr_reft.rewards.format import score_format
from curr_reft.rewards.score import Score, incidents

SCORINGS = {"strict": strict, "released": released}


@dataclass(frozen=True)
class Accuracy:
    """Strict accuracy over `n` rows with its 95 % Wilson interval, and what stands beside it."""

    n: int
    accuracy: float
    low: float
    high: float
    mean_reward: float
    """Mean reward of the open stage: for classification the mean IoU of label sets."""
    released: float
    """The released evaluator's accuracy on the same completions."""
    format: float
    """The share of well-formed completions."""
    incidents: dict[str, int]
    """Counts of rows by what went wrong with them (`curr_reft.rewards.score`)."""


def summarise(task: str, completions: Sequence[str], scores: Sequence[dict[str, Score]]) -> Accuracy:
    """The accuracy of a suite from its completions and what `score_row` gave for each."""
    n = len(scores)
    right, released_right = (sum(int(row[name].reward) for row in scores) for name in SCORINGS)
    interval = binomtest(right, n).proportion_ci(confidence_level=0.95, method="wilson")
    return Accuracy(
        n=n,
        accuracy=right / n,
        low=interval.low,
        high=interval.high,
        mean_reward=sum(row["strict"].partial for row in scores) / n,
        released=released_right / n,
        format=sum(score_format("open", task, text).reward for text in completions) / n,
        incidents=dict(Counter(incident for row in scores for incident in incidents(row))),
    )


def score_row(suite: str, row: Row) -> dict[str, Score]:
    """The strict and the released score of a row.

    Raises:
        InputError: when the row lacks a field.
    """
    output, example = required(row, "model_output", str), required(row, "example", dict)
    if "solution" not in example:
        raise InputError("example: holds no solution")
    return {name: scoring.score(suite, output, example) for name, scoring in SCORINGS.items()}


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the scored rows to standard output."""
    parser = CommandParser(prog="python -m curr_reft.evaluation.scoring", description=__doc__)
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS.jsonl")
    parser.add_argument("--suite", choices=strict.SUITES, required=True)
    parser.add_argument(
        "--explain", action="store_true", help="add what was parsed and the rule that applied"
    )
    arguments = parser.parse_args(argv)
    annotate_file(arguments.predictions, partial(score_row, arguments.suite), arguments.explain)


if __name__ == "__main__":
    main()
