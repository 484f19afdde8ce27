"""Scores: what the evaluator found, counted, with intervals; and before/after on the same prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

from charter.nouns import Exchange, Measurement, Metric, Prompt, Score, Step
from charter.ports import Benchmark
from charter.statistics import By, Cell, share


def measure(exchanges: Sequence[Exchange], benchmark: Benchmark, *, step: Step) -> Iterator[Measurement]:
    """One measurement for each exchange, by the evaluator."""
    yield from benchmark.grade(exchanges, step.done)


def scores(measurements: Sequence[Measurement], benchmark: Benchmark, *, step: Step) -> list[Score]:
    """A share for each metric that the measurements have, with n, its 95 % Wilson interval, and the unjudged apart."""
    del step
    return [share(metric, seen, benchmark.identity) for metric, seen in _events(measurements, benchmark)]


def breakdown(
    exchanges: Sequence[Exchange], measurements: Sequence[Measurement], benchmark: Benchmark, *, step: Step
) -> list[Cell]:
    """The same by category, language, source and attack style, where prompts have one: for reports, read by nothing
    else."""
    del step
    prompts = {e.id: e.prompt for e in exchanges}
    out = []
    for by in get_args(By):
        groups: dict[str, list[Measurement]] = {}
        for measurement in measurements:
            if group := _group(prompts[measurement.id], by):
                groups.setdefault(group, []).append(measurement)
        for group, found in sorted(groups.items()):
            for metric, seen in _events(found, benchmark):
                shared = share(metric, seen, benchmark.identity).model_dump() | {"id": f"{by}|{group}|{metric.name}"}
                out.append(Cell(**shared, by=by, group=group, metric=metric.name))
    return out


def _group(prompt: Prompt, by: By) -> str:
    return prompt.source if by == "source" else prompt.meta.get(by, "")


def _events(measurements: Sequence[Measurement], benchmark: Benchmark) -> Iterator[tuple[Metric, list[bool | None]]]:
    """Each metric that the measurements have, with what was seen of it."""
    for metric in benchmark.metrics:
        if seen := [m.outcomes[metric.name] for m in measurements if metric.name in m.outcomes]:
            yield metric, seen
