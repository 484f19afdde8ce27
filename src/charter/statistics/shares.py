"""Shares, whole and by group, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from charter.records.measurements import Metric, Score

GroupBy = Literal["category", "language", "source", "attack"]
FEW_JUDGED = 10
"""Cells of a breakdown with fewer judged answers are marked: their intervals say next to nothing."""


class BreakdownCell(Score):
    """A score over the prompts of one group: ``by`` says which of their properties, ``group`` its value."""

    by: GroupBy
    group: str
    metric: str

    @property
    def is_small(self) -> bool:
        """Whether n < 10."""
        return self.n < FEW_JUDGED


def wilson(successes: float, n: float, alpha: float = 0.05) -> tuple[float, float]:
    """Wilson score interval of a share (E. B. Wilson, JASA 22, 1927). (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    from scipy.special import ndtri

    share, z = successes / n, -float(ndtri(alpha / 2))
    widening = 1 + z**2 / n
    middle = (share + z**2 / (2 * n)) / widening
    spread = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / widening
    return max(0.0, middle - spread), min(1.0, middle + spread)


def score_share(metric: Metric, seen: Sequence[bool | None], benchmark: str) -> Score:
    """The share of events among those that could be judged, with n and its 95 % Wilson interval; None: unjudged."""
    judged = [event for event in seen if event is not None]
    low, high = wilson(sum(judged), len(judged))
    return Score(
        id=metric.name,
        value=sum(judged) / len(judged) if judged else None,
        n=len(judged),
        low=low if judged else None,
        high=high if judged else None,
        unjudged=len(seen) - len(judged),
        better=metric.better,
        benchmark=benchmark,
    )


def share_bounds(hits: int, n: int, unjudged: int) -> tuple[float, float]:
    """The least and the greatest share that ``unjudged`` further cases leave open: none of them a hit, all of them.
    (0, 1) where there is no case."""
    whole = n + unjudged
    return (hits / whole, (hits + unjudged) / whole) if whole else (0.0, 1.0)


def clustered_interval(values: Sequence[float], clusters: Sequence[str], alpha: float = 0.05) -> tuple[float, float]:
    """Interval of a share whose events (0, 1, or a half for a tie) come in clusters: the answers to one prompt are
    alike. Wilson's interval on the n of independent events that would vary as much, at most as many as there are
    values, and fewer where few clusters tell how much they vary (the effective sample size of E. L. Korn and
    B. I. Graubard, Survey Methodology 24, 1998, equation 2, with its t quantiles). Where nothing varies, as many as
    there are clusters. (0, 1) without values."""
    sums: dict[str, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        both = sums.setdefault(cluster, [0.0, 0.0])
        both[0], both[1] = both[0] + value, both[1] + 1
    n, k = len(values), len(sums)
    if not n:
        return 0.0, 1.0
    at = math.fsum(values) / n
    if not 0 < at < 1 or k == 1:
        return wilson(at * k, k, alpha)
    spread = math.fsum((total - at * count) ** 2 for total, count in sums.values()) / n**2
    size = float(n) if spread == 0 else at * (1 - at) / spread
    if k < n:
        from scipy.stats import t

        size *= (k - 1) / k * float(t.isf(alpha / 2, n - 1) / t.isf(alpha / 2, k - 1)) ** 2
    size = max(1.0, min(float(n), size))
    return wilson(at * size, size, alpha)
