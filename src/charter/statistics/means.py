"""Means of values of which some are alike."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple


class Mean(NamedTuple):
    """A mean with its interval; ``p``: two-sided, that it is 0. ``clusters``: how many groups it rests on. One group
    has no interval, and no p."""

    value: float
    low: float | None
    high: float | None
    p: float | None
    clusters: int


def bootstrap_mean(
    values: Sequence[float],
    clusters: Sequence[str],
    alpha: float = 0.05,
    draws: int = 9_999,
    *,
    least: float = -1.0,
    most: float = 1.0,
) -> Mean | None:
    """A mean of values between ``least`` and ``most``, of which those of one cluster (the answers to one prompt) are
    alike; for a change, of the differences on the same prompts. None without values; for events, see ``clustered`` and
    ``moved``.

    Bootstrap over clusters, of the studentised mean: the plain percentiles are too narrow for skewed values (B. Efron,
    R. J. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 12). No bootstrap knows values that were never
    drawn. So where most clusters have the same value, the share of the others is bounded as well, exactly (C. J.
    Clopper and E. S. Pearson, Biometrika 26, 1934); those never seen may lie at ``least`` or ``most``. The wider of the
    two ends counts, and the greater p."""
    if not values:
        return None
    import numpy

    sums: dict[str, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        both = sums.setdefault(cluster, [0.0, 0.0])
        both[0], both[1] = both[0] + value, both[1] + 1
    (total, count), at = numpy.asarray(list(sums.values())).T, math.fsum(values) / len(values)
    if len(sums) == 1:
        return Mean(at, None, None, None, 1)
    low, high, p = _studentised(total, count, at, alpha, draws)
    for side, end in ((-1, least), (1, most)):
        found = _unseen((total / count).tolist(), side, end, at, alpha)
        if found is not None:
            by, unseen_p = found
            low, high = (min(low, at - by), high) if side < 0 else (low, max(high, at + by))
            p = max(p, unseen_p) if side * at < 0 else p
    if not (math.isfinite(low) and math.isfinite(high)):
        return Mean(at, None, None, p, len(sums))
    return Mean(at, max(least, low), min(most, high), min(1.0, p), len(sums))


def _studentised(total: Any, count: Any, at: float, alpha: float, draws: int) -> tuple[float, float, float]:
    """Both ends and the p of the bootstrap over clusters, of their sums and sizes."""
    import numpy
    from scipy.stats import bootstrap

    def error(total: Any, count: Any, mean: Any, axis: int) -> Any:
        """The standard error of a ratio of sums over clusters."""
        return numpy.sqrt(((total - mean * count) ** 2).sum(axis=axis)) / count.sum(axis=axis)

    def pivot(total: Any, count: Any, axis: int) -> Any:
        drawn = total.sum(axis=axis, keepdims=True) / count.sum(axis=axis, keepdims=True)
        spread = error(total, count, drawn, axis)
        return (drawn.squeeze(axis) - at) / numpy.where(spread < none, one, spread)

    own, each = float(error(total, count, at, 0)), total / count
    none = max(own, abs(at), 1.0) * 1e-9
    one = max(none, float(each.max() - each.min()) / len(each))
    """A draw of nothing but equal values counts as if one other were among them."""
    if own < none:
        return at, at, 2 / (draws + 1) if abs(at) > none else 1.0
    found = bootstrap(
        (total, count),
        pivot,
        paired=True,
        confidence_level=1 - alpha,
        n_resamples=draws,
        method="percentile",
        rng=numpy.random.default_rng(0),
    )
    pivots, interval = found.bootstrap_distribution, found.confidence_interval
    tail = min(int((pivots >= at / own).sum()), int((pivots <= at / own).sum()))
    return at - own * float(interval.high), at - own * float(interval.low), 2 * (tail + 1) / (draws + 1)


def _unseen(each: Sequence[float], side: int, end: float, at: float, alpha: float) -> tuple[float, float] | None:
    """How far the mean may lie on one side (1: above) by more of the clusters that differ from the most, and the p that
    they take it to 0. None where no value is that of most clusters."""
    (usual, times), n = Counter(round(value, 9) for value in each).most_common(1)[0], len(each)
    if 2 * times <= n:
        return None
    from scipy.stats import beta, binom

    others = [value for value in each if side * (value - usual) > 1e-9]
    seen, gap = len(others), abs((math.fsum(others) / len(others) if others else end) - usual)
    if gap == 0:
        return 0.0, 0.0
    most = float(beta.isf(alpha / 2, seen + 1, n - seen)) if seen < n else 1.0
    needed = abs(at) / gap + seen / n
    return (most - seen / n) * gap, 2 * float(binom.cdf(seen, n, needed)) if needed < 1 else 0.0
