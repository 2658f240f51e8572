"""Intervals and paired tests for shares of answers, on scipy. Small counts are the rule here, so nothing normal."""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binomtest


@dataclass(frozen=True)
class Rate:
    """``k`` of ``n`` with its 95% Wilson interval."""

    k: int
    n: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """k / n; NaN for n = 0."""
        return self.k / self.n if self.n else float("nan")

    def __str__(self) -> str:
        """Such as ``28/30 = 0.93 (0.79 to 0.98)``."""
        return f"{self.k}/{self.n} = {self.share:.2f} ({self.low:.2f} to {self.high:.2f})"


def rate(hits: Sequence[bool]) -> Rate:
    """The share of true values with its Wilson score interval (Wilson 1927); (0, 1) for an empty list."""
    k, n = sum(map(bool, hits)), len(hits)
    if n == 0:
        return Rate(0, 0, 0.0, 1.0)
    interval = binomtest(k, n).proportion_ci(method="wilson")
    return Rate(k, n, float(interval.low), float(interval.high))


def mcnemar(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Exact McNemar p-value for paired outcomes of equal length; 1.0 where no pair differs.

    Raises:
        ValueError: the lists differ in length, so they are not pairs.
    """
    pairs = list(zip(a, b, strict=True))
    only_a = sum(bool(x) and not y for x, y in pairs)
    only_b = sum(bool(y) and not x for x, y in pairs)
    return 1.0 if only_a + only_b == 0 else float(binomtest(min(only_a, only_b), only_a + only_b).pvalue)
