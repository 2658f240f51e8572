"""Intervals and paired tests for shares of answers, on scipy. Small counts are the rule here, so nothing normal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest


@dataclass(frozen=True)
class Rate:
    """``k`` of ``n`` (NaN for n = 0) with its 95% Wilson interval; prints as ``28/30 = 0.93 (0.79 to 0.98)``."""

    k: int
    n: int
    share: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.k}/{self.n} = {self.share:.2f} ({self.low:.2f} to {self.high:.2f})"


def rate(hits: Sequence[bool]) -> Rate:
    """The share of true values with its interval, as `wilson`."""
    return wilson(sum(map(bool, hits)), len(hits))


def wilson(k: int, n: int) -> Rate:
    """``k`` of ``n`` with its Wilson score interval (Wilson 1927); (0, 1) for n = 0."""
    low, high = binomtest(k, n).proportion_ci(method="wilson") if n else (0.0, 1.0)
    return Rate(k, n, k / n if n else float("nan"), float(low), float(high))


def mcnemar(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Exact McNemar p-value for paired outcomes; 1.0 where no pair differs, `ValueError` for lists of other lengths."""
    differing = [bool(x) for x, y in zip(a, b, strict=True) if bool(x) != bool(y)]
    return float(binomtest(sum(differing), len(differing)).pvalue) if differing else 1.0


@dataclass(frozen=True)
class Difference:
    """A mean paired difference with its 95% cluster-bootstrap interval; prints as ``+0.12 (+0.04 to +0.20)``."""

    mean: float
    low: float
    high: float

    def no_loss(self, margin: float = 0.02) -> str:
        """``no loss`` if the interval excludes a loss of ``margin``; otherwise that is ``not shown``."""
        return "no loss" if self.low > -margin else "not shown"

    def __str__(self) -> str:
        return f"{self.mean:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


def difference(a: Sequence, b: Sequence, clusters: Sequence, draws: int = 2000, seed: int = 0) -> Difference:
    """``a`` minus ``b`` in the mean, over paired outcomes; raises `ValueError` if lengths differ or nothing is there.

    A percentile bootstrap draws whole ``clusters`` (each probe's template): probes of one are not independent.
    """
    gains = [float(x) - float(y) for x, y, _ in zip(a, b, clusters, strict=True)]
    if not gains:
        raise ValueError("no pairs to compare")
    place = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
    members = [place[name] for name in clusters]
    sums, sizes = np.bincount(members, weights=gains), np.bincount(members)
    drawn = np.random.default_rng(seed).integers(len(place), size=(draws, len(place)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [0.025, 0.975])
    return Difference(float(sums.sum() / sizes.sum()), float(low), float(high))


def holm(pvalues: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjusted p-values (Holm 1979): each may be compared with 0.05 as it stands."""
    names = sorted(pvalues, key=pvalues.get)
    steps = [min(1.0, (len(names) - rank) * pvalues[name]) for rank, name in enumerate(names)]
    return {name: max(steps[: names.index(name) + 1]) for name in pvalues}
