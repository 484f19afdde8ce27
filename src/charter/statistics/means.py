"""Means of values of which some are alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple


class Mean(NamedTuple):
    """A mean with its interval; ``p``: two-sided, that it is 0. ``clusters``: how many groups it rests on."""

    value: float
    low: float
    high: float
    p: float
    clusters: int


def bootstrap_mean(
    values: Sequence[float], clusters: Sequence[str], alpha: float = 0.05, draws: int = 9_999, seed: int = 0
) -> Mean | None:
    """A mean of values of which those of one cluster (the answers to one prompt) are alike; for a change, of the
    differences on the same prompts. Bootstrap over clusters, of the studentised mean: the plain percentiles are too
    narrow for skewed values (B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 12). A sample
    drawn without the rare values has an error of 0; it counts as the error that one such value would make. None without
    values; for events, see ``clustered`` and ``moved``."""
    if not values:
        return None
    import numpy
    from scipy.stats import bootstrap

    sums: dict[str, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        both = sums.setdefault(cluster, [0.0, 0.0])
        both[0], both[1] = both[0] + value, both[1] + 1
    (total, count), at = numpy.asarray(list(sums.values())).T, math.fsum(values) / len(values)
    if len(sums) == 1:
        return Mean(at, -math.inf, math.inf, 1.0, 1)

    def error(total: Any, count: Any, mean: Any, axis: int) -> Any:
        """The standard error of a ratio of sums over clusters."""
        return numpy.sqrt(((total - mean * count) ** 2).sum(axis=axis)) / count.sum(axis=axis)

    def pivot(total: Any, count: Any, axis: int) -> Any:
        drawn = total.sum(axis=axis, keepdims=True) / count.sum(axis=axis, keepdims=True)
        return (drawn.squeeze(axis) - at) / numpy.maximum(error(total, count, drawn, axis), least)

    own = float(error(total, count, at, 0))
    each = total / count
    least = max(float(each.max() - each.min()) / len(sums), max(own, abs(at), 1.0) * 1e-9)
    found = bootstrap(
        (total, count),
        pivot,
        paired=True,
        confidence_level=1 - alpha,
        n_resamples=draws,
        method="percentile",
        rng=numpy.random.default_rng(seed),
    )
    pivots, seen, interval = found.bootstrap_distribution, at / max(own, least), found.confidence_interval
    tail = min(int((pivots >= seen).sum()), int((pivots <= seen).sum()))
    low, high = at - own * float(interval.high), at - own * float(interval.low)
    return Mean(at, low, high, min(1.0, 2 * (tail + 1) / (draws + 1)), len(sums))
