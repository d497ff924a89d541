"""Score predictions, strictly and as released: ``python -m curr_reft.evaluation.scoring --suite SUITE FILE``.

Rows have `model_output` and `example` (the dataset row); `strict` and `released` are added, 1 or 0 each,
other fields pass through.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scipy.stats import binomtest

from curr_reft.annotate import Row, annotate_file, required
from curr_reft.errors import InputError, command
from curr_reft.evaluation import released, strict
from curr_reft.rewards.format import format_reward
from curr_reft.rewards.score import Score

SCORINGS = {"strict": strict, "released": released}


@dataclass(frozen=True)
class Accuracy:
    """Strict accuracy over `n` rows with its 95 % Wilson interval, and what stands beside it."""

    n: int
    accuracy: float
    low: float
    high: float
    released: float
    """The released evaluator's accuracy on the same completions."""
    format: float
    """The share of well-formed completions."""


def summarise(task: str, scored: Sequence[Row]) -> Accuracy:
    """The accuracy of a suite from its rows as `score_row` returns them."""
    n = len(scored)
    right, released_right = (sum(row[name] for row in scored) for name in SCORINGS)
    interval = binomtest(right, n).proportion_ci(confidence_level=0.95, method="wilson")
    well_formed = sum(format_reward("open", task, row["model_output"]) for row in scored)
    return Accuracy(n, right / n, interval.low, interval.high, released_right / n, well_formed / n)


def score_row(suite: str, explain: bool, row: Row) -> tuple[Row, list[Score]]:
    """The row with its strict and its released score.

    Raises:
        InputError: when the row lacks a field.
    """
    output, example = required(row, "model_output", str), required(row, "example", dict)
    if "solution" not in example:
        raise InputError("example: holds no solution")
    scores = {name: scoring.score(suite, output, example) for name, scoring in SCORINGS.items()}
    scored = {**row, **{name: int(score.reward) for name, score in scores.items()}}
    if explain:
        scored["explanation"] = {name: score.explanation() for name, score in scores.items()}
    return scored, list(scores.values())


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the scored rows to standard output."""
    parser = argparse.ArgumentParser(
        prog="python -m curr_reft.evaluation.scoring", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS.jsonl")
    parser.add_argument("--suite", choices=strict.SUITES, required=True)
    parser.add_argument(
        "--explain", action="store_true", help="add what was parsed and the rule that applied"
    )
    arguments = parser.parse_args(argv)
    annotate_file(arguments.predictions, partial(score_row, arguments.suite, arguments.explain))


if __name__ == "__main__":
    main()
