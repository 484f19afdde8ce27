"""Shares, means and other figures of a benchmark, each with n and a 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from charter import statistics
from charter.records.measurements import Measurement, Metric, Score
from charter.statistics import describe_copies, drop_copies, score_share

RESAMPLES = 2000
"""Of a bootstrap."""
OUTCOME_VALUES = {0.0, 0.5, 1.0}


def score_metrics(
    metrics: Sequence[Metric], measured: Sequence[Measurement], benchmark: str, note: str = ""
) -> list[Score]:
    """Every share and mean that was measured: shares with Wilson's interval, means with a bootstrap over the items. A
    text that was asked several times counts once; without another ``note``, the note says so."""
    out, once = [], drop_copies(measured)
    for metric in metrics:
        if metric.kind == "mean":
            known = {m.id: m.values[metric.name] for m in once if metric.name in m.values}
            found = score_mean(metric, list(known.values()), list(known), benchmark)
            found = found.model_copy(update={"unjudged": len(once) - len(known)})
        elif seen := [m.outcomes[metric.name] for m in once if metric.name in m.outcomes]:
            found = score_share(metric, seen, benchmark)
        else:
            continue
        counted = [m for m in measured if metric.kind == "mean" or metric.name in m.outcomes]
        out.append(found.model_copy(update={"note": note or describe_copies(counted)}))
    return out


def describe_guessing(options: Sequence[int]) -> str:
    """What guessing gives where one of so many options is right, item by item."""
    return f"guessing gives {math.fsum(1 / many for many in options) / len(options):.1%}"


def score_mean(metric: Metric, values: Sequence[float], clusters: Sequence[str], benchmark: str) -> Score:
    """A mean of values between 0 and 1, of which those of one cluster are alike. Where all are outcomes (0, 1, a half
    for a tie), its interval is a share's: a bootstrap cannot see the outcome that did not happen. One cluster has no
    interval."""
    found = statistics.bootstrap_mean(values, clusters, least=0.0)
    if found and set(values) <= OUTCOME_VALUES:
        low, high = statistics.clustered_interval(values, clusters)
        found = found._replace(low=low, high=high)
    return Score(
        id=metric.name,
        value=found.value if found else None,
        n=len(values),
        low=found.low if found else None,
        high=found.high if found else None,
        better=metric.better,
        benchmark=benchmark,
        interval="wilson" if set(values) <= OUTCOME_VALUES else "bootstrap",
    )


def score_bootstrap(metric: Metric, n: int, figure: Callable[[Sequence[int]], float | None], benchmark: str) -> Score:
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
