"""Shares, means and other figures of an exam, each with n and a 95 % interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from charter.nouns import Measurement, Metric, Score
from charter.statistics import share

RESAMPLES = 2000
"""Of a bootstrap."""


def shares(metrics: Sequence[Metric], measured: Sequence[Measurement], benchmark: str, note: str = "") -> list[Score]:
    """Every share and mean that was measured: shares with Wilson's interval, means with a bootstrap over the items."""
    out = []
    for metric in metrics:
        if metric.kind == "mean":
            values = [m.values[metric.name] for m in measured if metric.name in m.values]
            lost = sum(metric.name not in m.values for m in measured)
            out.append(mean(metric, values, benchmark).model_copy(update={"unjudged": lost, "note": note}))
        elif seen := [m.outcomes[metric.name] for m in measured if metric.name in m.outcomes]:
            out.append(share(metric, seen, benchmark).model_copy(update={"note": note}))
    return out


def mean(metric: Metric, values: Sequence[float], benchmark: str) -> Score:
    """A mean over items."""
    return whole(metric, len(values), lambda drawn: sum(values[i] for i in drawn) / len(drawn), benchmark)


def whole(metric: Metric, n: int, figure: Callable[[Sequence[int]], float | None], benchmark: str) -> Score:
    """A figure of ``n`` items with the 95 % percentile interval of a bootstrap over them (B. Efron, Ann. Statist. 7,
    1979); ``figure`` takes the places of the items that it is to be computed from, and gives None where it has no
    value."""
    import numpy

    value = figure(range(n)) if n else None
    low = high = None
    if value is not None:
        draws = numpy.random.default_rng(0).integers(n, size=(RESAMPLES, n))
        found = [one for draw in draws if (one := figure(draw.tolist())) is not None]
        low, high = numpy.percentile(found or [value], (2.5, 97.5)).tolist()
    return Score(
        id=metric.name,
        value=value,
        n=n,
        low=low,
        high=high,
        better=metric.better,
        benchmark=benchmark,
        interval="bootstrap",
    )
