"""Intervals and tests agree with published values and with each other at the edges."""

import math

import pytest
from scipy.stats import binom

from helpers import stats


def wilson(k, n, z=1.959963984540054):
    """Wilson (1927), written out."""
    p = k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return centre - half, centre + half


@pytest.mark.parametrize(("k", "n"), [(28, 30), (0, 40), (40, 40), (1, 1), (5, 20)])
def test_an_interval_is_wilsons(k, n):
    found = stats.rate([True] * k + [False] * (n - k))
    assert (found.k, found.n, found.share) == (k, n, k / n)
    assert (found.low, found.high) == pytest.approx(wilson(k, n), abs=1e-9)


def test_no_answers_say_nothing():
    found = stats.rate([])
    assert (found.k, found.n, found.low, found.high) == (0, 0, 0.0, 1.0) and math.isnan(found.share)
    assert str(found) == "0/0 = nan (0.00 to 1.00)"


def test_a_rate_prints_as_count_share_and_interval():
    assert str(stats.rate([True] * 28 + [False] * 2)) == "28/30 = 0.93 (0.79 to 0.98)"


@pytest.mark.parametrize(("only_a", "only_b"), [(1, 8), (8, 1), (0, 6), (3, 3), (5, 15)])
def test_mcnemar_is_the_exact_two_sided_binomial_test(only_a, only_b):
    a = [True] * only_a + [False] * only_b + [True] * 4 + [False] * 4
    b = [False] * only_a + [True] * only_b + [True] * 4 + [False] * 4
    expected = min(1.0, 2 * binom.cdf(min(only_a, only_b), only_a + only_b, 0.5))
    assert stats.mcnemar(a, b) == pytest.approx(expected)


def test_pairs_that_never_differ_give_no_evidence():
    assert stats.mcnemar([True, False], [True, False]) == 1.0
    assert stats.mcnemar([], []) == 1.0


def test_lists_of_unequal_length_are_not_pairs():
    with pytest.raises(ValueError):
        stats.mcnemar([True], [True, False])
