"""Strict scoring of open answers: right or wrong, with a Wilson interval over a suite."""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

from curr_reft.rewards.format import format_reward
from curr_reft.rewards.paper import accuracy


@dataclass(frozen=True)
class Score:
    """Accuracy over `n` rows with its 95 % Wilson interval, and the share of well-formed completions."""

    n: int
    accuracy: float
    low: float
    high: float
    format: float


def is_correct(task: str, completion: str, solution: str) -> bool:
    """Whether an open answer is right: its box, its whole label set, or its value."""
    return accuracy("open", task, completion, solution) == 1.0


def score(task: str, completions: Sequence[str], solutions: Sequence[str]) -> Score:
    """Score a suite's completions against its golds."""
    right = sum(is_correct(task, text, gold) for text, gold in zip(completions, solutions, strict=True))
    interval = binomtest(right, len(completions)).proportion_ci(confidence_level=0.95, method="wilson")
    well_formed = sum(format_reward("open", task, text) for text in completions)
    return Score(
        n=len(completions),
        accuracy=right / len(completions),
        low=interval.low,
        high=interval.high,
        format=well_formed / len(completions),
    )
