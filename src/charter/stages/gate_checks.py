"""Gates: whether a policy lost more than it may on gate, and whether revisions still pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from charter.records.decisions import Alarm, GateCheck, GateReference
from charter.records.measurements import Measurement, Metric
from charter.spec import GateSpec
from charter.statistics import change_interval, drop_copies, smallest_detectable_change, wilson

REFERENCES: tuple[GateReference, ...] = get_args(GateReference)


def check_gates(
    references: Sequence[Sequence[Measurement]],
    now: Sequence[Measurement],
    metrics: Sequence[Metric],
    options: GateSpec,
    looks: int,
) -> list[GateCheck]:
    """A gate for each metric against each of ``references``: what the starting model did on the gate prompts, and,
    where another policy was accepted since, what the last one did. ``looks``: how many policies the run may try; with
    the number of metrics and of references it divides ``alpha`` (Bonferroni). Only shares have gates: of the figures of
    a benchmark that are no events none is read."""
    start = _outcomes_by_item(references[0])
    held = [m for m in metrics if any(o.get(m.name) is not None for o in start.values())]
    alpha = options.alpha / max(1, len(held) * looks * len(REFERENCES))
    new = _outcomes_by_item(now)
    return [
        _check_gate(metric, against, _outcomes_by_item(reference), new, options.margin(metric.margin), alpha)
        for against, reference in zip(REFERENCES, references, strict=False)
        for metric in held
    ]


def detect_collapse(passing: Sequence[tuple[int, int]], options: GateSpec) -> list[Alarm]:
    """An alarm where revisions no longer pass. ``passing``: how many passed, of how many, in each iteration so far."""
    (passed, n), before = passing[-1], passing[:-1]
    _, high = wilson(passed, n)
    earlier, of = sum(p for p, _ in before), sum(n for _, n in before)
    usual = earlier / of if of else 0.0
    figures = {"passed": passed, "revisions": n, "upper": high, "before": usual}
    said = f"{passed} of {n} revisions pass (upper bound {high:.1%})"
    if high < options.min_pass_rate:
        return [Alarm(id="passing", reason=f"{said}: under {options.min_pass_rate:.0%}", figures=figures)]
    if high < options.min_pass_ratio * usual:
        fell = f"{said}: under {options.min_pass_ratio:.0%} of the {usual:.1%} before"
        return [Alarm(id="passing", reason=fell, figures=figures)]
    return []


OutcomesByItem = Mapping[str, Mapping[str, bool | None]]


def _outcomes_by_item(measurements: Sequence[Measurement]) -> OutcomesByItem:
    """By prompt; a text that was asked several times counts once."""
    return {m.id: m.outcomes for m in drop_copies(measurements)}


def _check_gate(
    metric: Metric,
    against: GateReference,
    before: OutcomesByItem,
    now: OutcomesByItem,
    margin: float,
    alpha: float,
) -> GateCheck:
    asked = [key for key, found in before.items() if found.get(metric.name) is not None]
    pairs = [(before[key][metric.name], now.get(key, {}).get(metric.name)) for key in asked]
    judged = [(bool(one), other) for one, other in pairs if other is not None]
    lapsed = sum(other is None and one is (metric.better == "higher") for one, other in pairs)
    rises, falls = sum(b and not a for a, b in judged), sum(a and not b for a, b in judged)
    better, worse = (rises, falls) if metric.better == "higher" else (falls, rises)
    n = len(judged)
    _, bound = change_interval(better, worse, n, 2 * alpha)
    worst = change_interval(better, worse + lapsed, len(pairs), 2 * alpha)[1] if len(pairs) > n else bound
    return GateCheck(
        id=f"{metric.name}|{against}",
        metric=metric.name,
        against=against,
        n=n,
        unjudged=len(pairs) - n,
        worse=worse,
        better=better,
        change=(better - worse) / n if n else None,
        bound=bound,
        margin=margin,
        alpha=alpha,
        worst=None if len(pairs) == n else worst,
        detectable=smallest_detectable_change(n, better / n if n else 0.0, margin, alpha=2 * alpha),
        passed=min(bound, worst) >= -margin and 2 * n >= len(asked),
    )
