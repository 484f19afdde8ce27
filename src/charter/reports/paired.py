"""Comparisons on the same held-out prompts: before with after, one run with another."""

from __future__ import annotations

from collections.abc import Sequence

from charter.nouns import Measurement, Record, Score
from charter.reports.reading import Reading
from charter.statistics import change, detectable, holm, mcnemar

START, FINAL = "000/heldout", "final/heldout"


class Pairing(Record):
    """``n`` prompts judged in both. The event happened in the second alone ``gained`` times, in the first ``lost``."""

    metric: str
    n: int
    gained: int
    lost: int
    p: float


class Compared(Pairing):
    """The same with ``p_holm`` over the metrics of the comparison; the change of the share with its 95 % interval; and
    the smallest change that n pairs show four times in five, where none changes the other way (None: none)."""

    p_holm: float
    change: float
    low: float
    high: float
    detectable: float | None


def paired(first: Sequence[Measurement], second: Sequence[Measurement]) -> dict[str, Pairing]:
    """Each metric that both have, over the prompts that both were asked and that could be judged in both."""
    others = {m.id: m.outcomes for m in second}
    pairs: dict[str, list[tuple[bool, bool]]] = {}
    for measurement in first:
        for metric, before in measurement.outcomes.items():
            after = others.get(measurement.id, {}).get(metric)
            if before is not None and after is not None:
                pairs.setdefault(metric, []).append((before, after))
    out = {}
    for metric, events in pairs.items():
        gained = sum(after and not before for before, after in events)
        lost = sum(before and not after for before, after in events)
        out[metric] = Pairing(metric=metric, n=len(events), gained=gained, lost=lost, p=mcnemar(gained, lost))
    return out


def compared(first: Sequence[Measurement], second: Sequence[Measurement]) -> dict[str, Compared]:
    """``paired`` with intervals, corrected for how many metrics are compared."""
    pairs = paired(first, second)
    out = {}
    for (metric, pair), p_holm in zip(pairs.items(), holm([pair.p for pair in pairs.values()]), strict=True):
        low, high = change(pair.gained, pair.lost, pair.n)
        by = (pair.gained - pair.lost) / pair.n
        least = detectable(pair.n)
        out[metric] = Compared(**pair.model_dump(), p_holm=p_holm, change=by, low=low, high=high, detectable=least)
    return out


def before_after(reading: Reading) -> dict[str, Compared]:
    """A run's held-out measurements at the start and at the end; empty while either is missing."""
    sides = [reading.records(f"{side}_measurements", Measurement) for side in (START, FINAL)]
    return compared(*sides)


def between(first: Reading, second: Reading) -> dict[str, Compared]:
    """Two runs' final held-out measurements; empty where their benchmarks differ or one is not finished."""
    versions = [{s.benchmark for s in r.records(f"{FINAL}_scores", Score)} for r in (first, second)]
    if not versions[0] or versions[0] != versions[1]:
        return {}
    return compared(*(r.records(f"{FINAL}_measurements", Measurement) for r in (first, second)))
