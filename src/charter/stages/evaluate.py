"""Scores: what the evaluator found, counted, with intervals; and before/after on the same prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from charter.nouns import Exchange, Measurement, Score, Step
from charter.ports import Benchmark
from charter.statistics import wilson


def measure(exchanges: Sequence[Exchange], benchmark: Benchmark, *, step: Step) -> Iterator[Measurement]:
    """One measurement for each exchange, by the evaluator."""
    yield from benchmark.grade(exchanges, step.done)


def scores(measurements: Sequence[Measurement], benchmark: Benchmark, *, step: Step) -> list[Score]:
    """A share for each metric that the measurements have, with n, its 95 % Wilson interval, and the unjudged apart."""
    del step
    out = []
    for metric in benchmark.metrics:
        seen = [m.outcomes[metric.name] for m in measurements if metric.name in m.outcomes]
        if not seen:
            continue
        judged = [event for event in seen if event is not None]
        low, high = wilson(sum(judged), len(judged))
        out.append(
            Score(
                id=metric.name,
                value=sum(judged) / len(judged) if judged else None,
                n=len(judged),
                low=low if judged else None,
                high=high if judged else None,
                unjudged=len(seen) - len(judged),
                better=metric.better,
                benchmark=benchmark.identity,
            )
        )
    return out
