"""Two evaluations of the same rows, compared row by row."""

import json
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from curr_reft.data.schema import BrokenLine, iter_objects
from curr_reft.errors import InputError
from curr_reft.evaluation.scores_file import read_scores

logger = logging.getLogger(__name__)

_RESAMPLES = 10_000
_SCORINGS = ("strict", "tolerant", "released")
_COMPARED = ("strict", "problem", "example")


@dataclass(frozen=True)
class Gain:
    """A mean over rows of B less A, with the bounds of its 95 % bootstrap interval (over resampled rows)."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Change(Gain):
    """The gain of an accuracy, and the two that it is between."""

    a: float
    b: float


@dataclass(frozen=True)
class Comparison:
    """Strict accuracy of B less that of A on the rows that both answered."""

    n: int
    accuracy_a: float
    accuracy_b: float
    difference: float
    low: float
    high: float
    """Bounds of the 95 % bootstrap interval (percentiles over resampled rows)."""
    only_a: int
    """Rows that A alone has right."""
    only_b: int
    p_value: float
    """Of McNemar's exact test: how likely so uneven a split of the rows that one alone has right would be,
    were A and B alike."""
    tolerant: Change | None
    """Of the tolerant accuracies: the ability in the strict difference. `None` where rows have no such score,
    as in evaluations from before there was one."""
    format: Gain | None
    """The rest of the strict difference: what comes of keeping better or worse to the format alone."""
    released: Change | None
    """Of the released evaluator's accuracies."""


def compare(a: Path, b: Path, seed: int = 42) -> dict[str, Comparison]:
    """Compare two evaluation folders over the rows that both have, suite by suite in A's order.

    Raises:
        InputError: when they share no row, or a row was asked or scored against another gold.
    """
    scores_a, scores_b = (_suites(folder) for folder in (a, b))
    comparisons = {}
    for suite in scores_a:
        if suite not in scores_b:
            continue
        right_a, right_b = (_scores_by_row(folder / f"{suite}.jsonl") for folder in (a, b))
        ids = sorted(right_a.keys() & right_b.keys())
        for row in ids:
            if right_a[row][1:] != right_b[row][1:]:
                raise InputError(f"{suite}, {row}: {a} and {b} were asked or scored differently")
        settings = [scores[suite].get("settings") or {} for scores in (scores_a, scores_b)]
        if apart := sorted(key for key in settings[0] if settings[0][key] != settings[1].get(key)):
            logger.warning("%s: the two were asked with another %s", suite, ", ".join(apart))
        if ids:
            scores = np.array([(right_a[row][0], right_b[row][0]) for row in ids], dtype=float)
            strict, *others = (scores[:, :, place] for place in range(len(_SCORINGS)))
            told = (None if np.isnan(other).any() else other for other in others)
            comparisons[suite] = paired(strict, *told, seed=seed)
    if not comparisons:
        raise InputError(f"--compare {a} {b}: no suite that both have answered rows of")
    return comparisons


def paired(
    strict: np.ndarray, tolerant: np.ndarray | None = None, released: np.ndarray | None = None, seed: int = 42
) -> Comparison:
    """The comparison of `[n, 2]` scores of 0 and 1, a row's of A and of B, by each of the scorings."""
    gained = strict[:, 1] - strict[:, 0]
    only_a, only_b = int((gained < 0).sum()), int((gained > 0).sum())
    whole = _change(strict, seed)
    apart = only_a + only_b
    return Comparison(
        n=len(strict),
        accuracy_a=whole.a,
        accuracy_b=whole.b,
        difference=whole.difference,
        low=whole.low,
        high=whole.high,
        only_a=only_a,
        only_b=only_b,
        p_value=float(binomtest(only_b, apart).pvalue) if apart else 1.0,
        tolerant=None if tolerant is None else _change(tolerant, seed),
        format=None if tolerant is None else _gain(gained - (tolerant[:, 1] - tolerant[:, 0]), seed),
        released=None if released is None else _change(released, seed),
    )


def _change(scores: np.ndarray, seed: int) -> Change:
    a, b = map(float, scores.mean(axis=0))
    return Change(**asdict(_gain(scores[:, 1] - scores[:, 0], seed)), a=a, b=b)


def _gain(differences: np.ndarray, seed: int) -> Gain:
    n = len(differences)
    # A row counts one of a few values, so a resample is a draw of how often each comes up.
    values, counts = np.unique(differences, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(n, counts / n, size=_RESAMPLES)
    low, high = np.quantile(draws @ values / n, [0.025, 0.975])
    return Gain(float(differences.mean()), float(low), float(high))


def _suites(folder: Path) -> dict[str, Any]:
    """The scores of an evaluation by suite: answers of other weights may lie beside them."""
    record = read_scores(folder)
    if record is None:
        raise InputError(f"--compare {folder}: holds no scores.json; run eval/evaluate.py")
    return record["scores"]


def _scores_by_row(path: Path) -> dict[str, tuple[Any, ...]]:
    """Of each row by its id: its scores (NaN for one it has not), its problem, its golds."""
    rows = {}
    for number, row in iter_objects(path):
        if isinstance(row, BrokenLine) or not isinstance(row, dict) or not {"id", *_COMPARED} <= row.keys():
            raise InputError(f"{path}:{number}: no scored row; evaluate again to the end")
        scores = [row.get(scoring, math.nan) for scoring in _SCORINGS]
        rows[str(row["id"])] = (scores, row["problem"], json.dumps(row["example"], sort_keys=True))
    return rows
