"""Intervals and tests agree with published values and with each other at the edges."""

import math

import numpy as np
import pytest
import scipy.stats
from scipy.stats import binom

from helpers.measure import stats


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


def test_the_bootstrap_interval_covers_the_truth_as_often_as_it_says():
    rng, covered = np.random.default_rng(1), 0
    for trial in range(200):
        a, b = rng.random(120) < 0.8, rng.random(120) < 0.6
        found = stats.difference(a, b, range(120), draws=400, seed=trial)
        covered += found.low <= 0.2 <= found.high
    assert 180 <= covered <= 199


def test_probes_of_one_cluster_widen_the_interval():
    rng = np.random.default_rng(2)
    hit = np.repeat(rng.random(20) < 0.5, 10)
    alone = stats.difference(hit, np.zeros(200), range(200))
    clustered = stats.difference(hit, np.zeros(200), np.repeat(range(20), 10))
    assert alone.mean == clustered.mean
    assert clustered.high - clustered.low > 2 * (alone.high - alone.low)


def test_the_bootstrap_agrees_with_scipy_where_every_probe_stands_alone():
    rng = np.random.default_rng(3)
    a, b = rng.random(150) < 0.9, rng.random(150) < 0.7
    theirs = scipy.stats.bootstrap(
        (a.astype(float) - b.astype(float),), np.mean, method="percentile", n_resamples=5000, rng=0
    ).confidence_interval
    ours = stats.difference(a, b, range(150), draws=5000)
    assert ours.low == pytest.approx(theirs.low, abs=0.015) and ours.high == pytest.approx(theirs.high, abs=0.015)


def test_no_loss_is_said_only_if_the_interval_excludes_it():
    assert stats.Difference(0.0, -0.019, 0.01).no_loss() == "no loss"
    assert stats.Difference(0.0, -0.02, 0.01).no_loss() == "not shown"
    with pytest.raises(ValueError, match="no pairs"):
        stats.difference([], [], [])
    with pytest.raises(ValueError, match="zip"):
        stats.difference([1], [1, 0], [0])


def test_holm_against_worked_values():
    """Holm (1979): the smallest times four, the next times three, never falling, at most one."""
    found = stats.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert list(found) == ["a", "b", "c", "d"]
    assert stats.holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}
