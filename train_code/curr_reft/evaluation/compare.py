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
_COMPARED = ("strict", "problem", "example")


@dataclass(frozen=True)
class Gain:
    """A mean over rows of B less A, with the bounds of its 95 % bootstrap interval (over resampled rows)."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Split:
    """What a gain in strict accuracy is made of."""

    tolerant_a: float
    tolerant_b: float
    ability: Gain
    """The gain in tolerant accuracy."""
    format: Gain
    """The rest: rows whose answers are as right as before, and found where they were not, or not any more."""


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
    split: Split | None
    """`None` where rows have no tolerant score, as evaluations before there was one."""
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
        right_a, right_b = (_scores_by_row(folder / f"{suite}.jsonl") for folder in (a, b))
        ids = sorted(right_a.keys() & right_b.keys())
        for row in ids:
            if right_a[row][1:] != right_b[row][1:]:
                raise InputError(f"{suite}, {row}: {a} and {b} were asked or scored differently")
        settings = [scores[suite].get("settings") or {} for scores in (scores_a, scores_b)]
        if apart := sorted(key for key in settings[0] if settings[0][key] != settings[1].get(key)):
            logger.warning("%s: the two were asked with another %s", suite, ", ".join(apart))
        if ids:
            readings = zip(*((right_a[row][0], right_b[row][0]) for row in ids), strict=True)
            strict, tolerant = np.array(list(readings), dtype=float).transpose(2, 1, 0)
            comparisons[suite] = paired(strict, None if np.isnan(tolerant).any() else tolerant, seed)
    if not comparisons:
        raise InputError(f"--compare {a} {b}: no suite that both have answered rows of")
    return comparisons


def paired(strict: np.ndarray, tolerant: np.ndarray | None = None, seed: int = 42) -> Comparison:
    """The comparison of `[n, 2]` scores of 0 and 1, a row's of A and of B, strictly and tolerantly read."""
    gained = strict[:, 1] - strict[:, 0]
    only_a, only_b = int((gained < 0).sum()), int((gained > 0).sum())
    accuracy_a, accuracy_b = map(float, strict.mean(axis=0))
    split = None
    if tolerant is not None:
        able = tolerant[:, 1] - tolerant[:, 0]
        split = Split(*map(float, tolerant.mean(axis=0)), _gain(able, seed), _gain(gained - able, seed))
    apart = only_a + only_b
    return Comparison(
        n=len(strict),
        accuracy_a=accuracy_a,
        accuracy_b=accuracy_b,
        **asdict(_gain(gained, seed)),
        split=split,
        only_a=only_a,
        only_b=only_b,
        p_value=float(binomtest(only_b, apart).pvalue) if apart else 1.0,
    )


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
    """Of each row by its id: its strict and tolerant score (NaN for none), its problem, its golds."""
    rows = {}
    for number, row in iter_objects(path):
        if isinstance(row, BrokenLine) or not isinstance(row, dict) or not {"id", *_COMPARED} <= row.keys():
            raise InputError(f"{path}:{number}: no scored row; evaluate again to the end")
        scores = row["strict"], row.get("tolerant", math.nan)
        rows[str(row["id"])] = (scores, row["problem"], json.dumps(row["example"], sort_keys=True))
    return rows
