"""Comparisons on the same held-out prompts: before with after, one run with another. Exact McNemar."""

from __future__ import annotations

from collections.abc import Sequence

from charter.nouns import Measurement, Record, Score
from charter.reports.reading import Reading
from charter.statistics import mcnemar

START, FINAL = "000/heldout", "final/heldout"


class Pairing(Record):
    """``n`` prompts judged in both. The event happened in the second alone ``gained`` times, in the first ``lost``."""

    metric: str
    n: int
    gained: int
    lost: int
    p: float


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


def before_after(reading: Reading) -> dict[str, Pairing]:
    """A run's held-out measurements at the start and at the end; empty while either is missing."""
    sides = [reading.records(f"{side}_measurements", Measurement) for side in (START, FINAL)]
    return paired(*sides)


def between(first: Reading, second: Reading) -> dict[str, Pairing]:
    """Two runs' final held-out measurements; empty where their benchmarks differ or one is not finished."""
    versions = [{s.benchmark for s in r.records(f"{FINAL}_scores", Score)} for r in (first, second)]
    if not versions[0] or versions[0] != versions[1]:
        return {}
    return paired(*(r.records(f"{FINAL}_measurements", Measurement) for r in (first, second)))
