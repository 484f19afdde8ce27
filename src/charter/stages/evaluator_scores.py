"""Scores: what the evaluator found, counted, with intervals; and before/after on the same prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

from charter.ports import Benchmark
from charter.records.chat import Exchange, Prompt
from charter.records.item_ids import group_cell_id
from charter.records.measurements import Measurement, Metric, Score
from charter.records.record import Step
from charter.statistics import BreakdownCell, GroupBy, describe_copies, drop_copies, score_share


def measure(exchanges: Sequence[Exchange], benchmark: Benchmark, *, step: Step) -> Iterator[Measurement]:
    """One measurement for each exchange, by the evaluator."""
    yield from benchmark.grade(exchanges, step.done)


def compute_scores(measurements: Sequence[Measurement], benchmark: Benchmark) -> list[Score]:
    """A share for each metric that the measurements have, with n, its 95 % Wilson interval, and the unjudged apart. A
    text that was asked several times counts once; the note says so."""
    out = []
    for metric, seen in _outcomes_by_metric(drop_copies(measurements), benchmark):
        note = describe_copies([m for m in measurements if metric.name in m.outcomes])
        out.append(score_share(metric, seen, benchmark.identity).model_copy(update={"note": note}))
    return out


def break_down_scores(
    exchanges: Sequence[Exchange], measurements: Sequence[Measurement], benchmark: Benchmark
) -> list[BreakdownCell]:
    """The same by category, language, source and attack style, where prompts have one: for reports, read by nothing
    else."""
    prompts = {e.id: e.prompt for e in exchanges}
    out = []
    for by in get_args(GroupBy):
        groups: dict[str, list[Measurement]] = {}
        for measurement in measurements:
            if group := _group_of(prompts[measurement.id], by):
                groups.setdefault(group, []).append(measurement)
        for group, found in sorted(groups.items()):
            for metric, seen in _outcomes_by_metric(drop_copies(found), benchmark):
                shared = score_share(metric, seen, benchmark.identity).model_dump() | {
                    "id": group_cell_id(by, group, metric.name)
                }
                out.append(BreakdownCell(**shared, by=by, group=group, metric=metric.name))
    return out


def _group_of(prompt: Prompt, by: GroupBy) -> str:
    return prompt.source if by == "source" else prompt.meta.get(by, "")


def _outcomes_by_metric(
    measurements: Sequence[Measurement], benchmark: Benchmark
) -> Iterator[tuple[Metric, list[bool | None]]]:
    """Each metric that the measurements have, with what was seen of it."""
    for metric in benchmark.metrics:
        if seen := [m.outcomes[metric.name] for m in measurements if metric.name in m.outcomes]:
            yield metric, seen
