"""Two evaluations of the same rows, compared row by row."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from curr_reft.data.schema import BrokenLine, iter_objects
from curr_reft.errors import InputError
from curr_reft.evaluation.scores_file import read_scores

logger = logging.getLogger(__name__)

_RESAMPLES = 10_000
_COMPARED = ("strict", "problem", "example")


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
        right_a, right_b = (_strict_by_row(folder / f"{suite}.jsonl") for folder in (a, b))
        ids = sorted(right_a.keys() & right_b.keys())
        for row in ids:
            if right_a[row][1:] != right_b[row][1:]:
                raise InputError(f"{suite}, {row}: {a} and {b} were asked or scored differently")
        settings = [scores[suite].get("settings") or {} for scores in (scores_a, scores_b)]
        if apart := sorted(key for key in settings[0] if settings[0][key] != settings[1].get(key)):
            logger.warning("%s: the two were asked with another %s", suite, ", ".join(apart))
        if ids:
            pairs = np.array([(right_a[row][0], right_b[row][0]) for row in ids])
            comparisons[suite] = paired(pairs, seed)
    if not comparisons:
        raise InputError(f"--compare {a} {b}: no suite that both have answered rows of")
    return comparisons


def paired(pairs: np.ndarray, seed: int = 42) -> Comparison:
    """The comparison of `[n, 2]` scores of 0 and 1, a row's of A and of B."""
    n = len(pairs)
    only_a = int(((pairs[:, 0] == 1) & (pairs[:, 1] == 0)).sum())
    only_b = int(((pairs[:, 0] == 0) & (pairs[:, 1] == 1)).sum())
    # A resampled row counts -1, 0 or 1, so a resample is a draw of how often each comes up.
    shares = np.array([only_a, only_b, n - only_a - only_b]) / n
    draws = np.random.default_rng(seed).multinomial(n, shares, size=_RESAMPLES)
    low, high = np.quantile((draws[:, 1] - draws[:, 0]) / n, [0.025, 0.975])
    apart = only_a + only_b
    return Comparison(
        n=n,
        accuracy_a=float(pairs[:, 0].mean()),
        accuracy_b=float(pairs[:, 1].mean()),
        difference=(only_b - only_a) / n,
        low=float(low),
        high=float(high),
        only_a=only_a,
        only_b=only_b,
        p_value=float(binomtest(only_b, apart).pvalue) if apart else 1.0,
    )


def _suites(folder: Path) -> dict[str, Any]:
    """The scores of an evaluation by suite: answers of other weights may lie beside them."""
    record = read_scores(folder)
    if record is None:
        raise InputError(f"--compare {folder}: holds no scores.json; run eval/evaluate.py")
    return record["scores"]


def _strict_by_row(path: Path) -> dict[str, tuple[Any, ...]]:
    """Strict score, problem and golds of each row by its id."""
    rows = {}
    for number, row in iter_objects(path):
        if isinstance(row, BrokenLine) or not isinstance(row, dict) or not {"id", *_COMPARED} <= row.keys():
            raise InputError(f"{path}:{number}: no scored row; evaluate again to the end")
        rows[str(row["id"])] = (row["strict"], row["problem"], json.dumps(row["example"], sort_keys=True))
    return rows
