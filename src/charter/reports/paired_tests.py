"""Comparisons on the same held-out prompts: before with after, one run with another."""

from __future__ import annotations

from collections.abc import Sequence

from charter.records.measurements import Measurement, Score
from charter.records.record import Record
from charter.runs.reader import RunReader
from charter.statistics import change_interval, drop_copies, holm, mcnemar, smallest_detectable_change

START_STEP, FINAL_STEP = "000/heldout", "final/heldout"


class PairedCounts(Record):
    """``n`` prompts judged in both. The event happened in the second alone ``gained`` times, in the first ``lost``."""

    metric: str
    n: int
    gained: int
    lost: int
    p: float


class PairedChange(PairedCounts):
    """The same with ``p_holm`` over the metrics of the comparison; the change of the share with its 95 % interval; and
    the smallest change that n pairs show four times in five, where as many change the other way as here: the smaller of
    ``gained`` and ``lost`` (None: none)."""

    p_holm: float
    change: float
    low: float
    high: float
    detectable: float | None


def count_pairs(first: Sequence[Measurement], second: Sequence[Measurement]) -> dict[str, PairedCounts]:
    """Each metric that both have, over the prompts that both were asked and that could be judged in both. A text
    counts once."""
    others = {m.id: m.outcomes for m in second}
    pairs: dict[str, list[tuple[bool, bool]]] = {}
    for measurement in drop_copies(first):
        for metric, before in measurement.outcomes.items():
            after = others.get(measurement.id, {}).get(metric)
            if before is not None and after is not None:
                pairs.setdefault(metric, []).append((before, after))
    out = {}
    for metric, events in pairs.items():
        gained = sum(after and not before for before, after in events)
        lost = sum(before and not after for before, after in events)
        out[metric] = PairedCounts(metric=metric, n=len(events), gained=gained, lost=lost, p=mcnemar(gained, lost))
    return out


def compare_pairs(first: Sequence[Measurement], second: Sequence[Measurement]) -> dict[str, PairedChange]:
    """``paired`` with intervals, corrected for how many metrics are compared."""
    pairs = count_pairs(first, second)
    out = {}
    for (metric, pair), p_holm in zip(pairs.items(), holm([pair.p for pair in pairs.values()]), strict=True):
        low, high = change_interval(pair.gained, pair.lost, pair.n)
        by = (pair.gained - pair.lost) / pair.n
        least = smallest_detectable_change(pair.n, min(pair.gained, pair.lost) / pair.n)
        out[metric] = PairedChange(**pair.model_dump(), p_holm=p_holm, change=by, low=low, high=high, detectable=least)
    return out


def compare_before_after(reading: RunReader) -> dict[str, PairedChange]:
    """A run's held-out measurements at the start and at the end; empty while either is missing."""
    sides = [reading.records(f"{side}_measurements", Measurement) for side in (START_STEP, FINAL_STEP)]
    return compare_pairs(*sides)


def compare_final(first: RunReader, second: RunReader) -> dict[str, PairedChange]:
    """Two runs' final held-out measurements; empty where their benchmarks differ or one is not finished."""
    versions = [{s.benchmark for s in r.records(f"{FINAL_STEP}_scores", Score)} for r in (first, second)]
    if not versions[0] or versions[0] != versions[1]:
        return {}
    return compare_pairs(*(r.records(f"{FINAL_STEP}_measurements", Measurement) for r in (first, second)))
