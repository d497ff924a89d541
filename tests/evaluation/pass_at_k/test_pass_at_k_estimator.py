"""The estimator against exact enumeration, and its intervals."""

import math
import warnings
from fractions import Fraction
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curr_reft.evaluation.pass_at_k.estimator import estimate, pass_at_k


def exact(n: int, c: int, k: int) -> Fraction:
    """By looking at every subset of k samples, the first c of which are right."""
    subsets = list(combinations(range(n), k))
    return Fraction(sum(min(subset) < c for subset in subsets), len(subsets))


@st.composite
def measurements(draw, largest: int = 9) -> tuple[int, int, int]:
    n = draw(st.integers(1, largest))
    return n, draw(st.integers(0, n)), draw(st.integers(1, n))


@given(measurements())
def test_it_is_the_share_of_subsets_with_a_right_sample(measurement):
    assert pass_at_k(*measurement) == pytest.approx(float(exact(*measurement)), abs=1e-14)


@given(measurements(largest=2000))
def test_it_equals_the_formula_with_binomials(measurement):
    n, c, k = measurement
    formula = 1 - Fraction(math.comb(n - c, k), math.comb(n, k))
    assert pass_at_k(n, c, k) == pytest.approx(float(formula), abs=1e-12)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_it_does_not_fall_with_k_and_starts_at_the_accuracy(counts):
    n, c = counts
    values = [pass_at_k(n, c, k) for k in range(1, n + 1)]
    assert values[0] == pytest.approx(c / n)
    assert values[-1] == (c > 0)
    assert all(b >= a - 1e-15 for a, b in pairwise(values))


@pytest.mark.parametrize(
    ("c", "k"), [(1, 1), (1, 5000), (37, 100), (5000, 1), (9999, 1), (3, 9997), (0, 10_000)]
)
def test_ten_thousand_samples_are_no_trouble(c, k):
    formula = 1 - Fraction(math.comb(10_000 - c, k), math.comb(10_000, k))
    assert pass_at_k(10_000, c, k) == pytest.approx(float(formula), rel=1e-10)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 2, 5), (4, 5, 1), (4, -1, 1), (4, 2, 0), (0, 0, 1)])
def test_what_is_not_measured_has_no_value(n, c, k):
    with pytest.raises(ValueError, match="expected"):
        pass_at_k(n, c, k)


def test_problems_with_too_few_judged_samples_are_left_out_of_that_k_alone():
    one, two, four = estimate([(4, 4), (4, 0), (1, 1)], [1, 2, 4], seed=0)
    assert (one.problems, one.pass_at_k) == (3, pytest.approx(2 / 3))
    assert (two.problems, two.pass_at_k) == (2, 0.5)
    assert (four.problems, four.pass_at_k) == (2, 0.5)
    (nothing,) = estimate([(1, 1), (0, 0)], [2], seed=0)
    assert (nothing.pass_at_k, nothing.low, nothing.high, nothing.problems) == (None, None, None, 0)


@pytest.mark.parametrize("counts", [[(4, 1)], [(4, 3)] * 7, [(10, 3)] * 1000, [(4, 0)] * 3, [(4, 4)] * 3])
def test_equal_problems_have_an_interval_without_width(counts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for found in estimate(counts, [1, 2, 4], seed=1):
            assert found.low == found.pass_at_k == found.high


def test_the_interval_is_the_bootstrap_percentile_and_repeats_itself():
    counts = [(8, c) for c in (0, 0, 1, 2, 3, 5, 8, 8)] * 25
    (found,) = estimate(counts, [1], seed=5)
    assert estimate(counts, [1], seed=5) == [found]
    values = [c / n for n, c in counts]
    mean = sum(values) / len(values)
    error = math.sqrt(sum((value - mean) ** 2 for value in values)) / len(values)
    assert found.pass_at_k == pytest.approx(mean)
    assert found.low == pytest.approx(mean - 1.96 * error, abs=0.006)
    assert found.high == pytest.approx(mean + 1.96 * error, abs=0.006)
