"""How likely one of k samples is right: the unbiased estimate from n of them, with an interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 10_000


@dataclass(frozen=True)
class PassAtK:
    """Mean pass@k over problems with its 95 % percentile bootstrap interval; `None` without any problem."""

    k: int
    pass_at_k: float | None
    low: float | None
    high: float | None
    problems: int
    """How many problems are behind it: those with at least k judged samples."""


def pass_at_k(n: int, c: int, k: int) -> float:
    """The share of the k-subsets of n samples, c of them right, that hold a right one: 1 - C(n-c,k)/C(n,k).

    The unbiased estimator of Chen et al. 2021 (Evaluating Large Language Models Trained on Code, eq. 1). As a
    product of c factors nothing overflows.

    Raises:
        ValueError: when it is not defined; it never is for a k above n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@{k} of {n} samples, {c} right: expected 0 <= c <= n and 1 <= k <= n")
    if n - c < k:
        return 1.0
    return float(1 - np.prod(1 - k / np.arange(n - c + 1, n + 1)))


def estimate(counts: Sequence[tuple[int, int]], k_values: Sequence[int], seed: int) -> list[PassAtK]:
    """Mean pass@k over problems for every k, in the order of `k_values`.

    Args:
        counts: Judged and right samples of each problem. A problem with fewer than k judged ones is left out
            of that k's mean.
        seed: Of the bootstrap, the same for every k.
    """
    return [_mean(k, np.array([pass_at_k(n, c, k) for n, c in counts if n >= k]), seed) for k in k_values]


def _mean(k: int, values: np.ndarray, seed: int) -> PassAtK:
    if not len(values):
        return PassAtK(k, None, None, None, 0)
    # Few values differ, so drawing how often each comes stands for drawing the problems one by one.
    levels, times = np.unique(values, return_counts=True)
    resampled = np.random.default_rng(seed).multinomial(len(values), times / len(values), size=_RESAMPLES)
    low, high = np.percentile(resampled @ levels / len(values), [2.5, 97.5])
    return PassAtK(k, float(times @ levels / len(values)), float(low), float(high), len(values))
