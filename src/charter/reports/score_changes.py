"""Scores that moved from one policy to the next: on the same prompts, with exact McNemar and Holm."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from charter.records.record import Record
from charter.reports.paired_tests import count_pairs
from charter.reports.provenance import Checkpoint, PolicyMeasurement, RunGraph
from charter.statistics import drop_copies, holm

START_FOLDER, FINAL_FOLDER = "000", "final"


class ScoreChange(Record):
    """One metric on one split (or its prompts of one ``category``), against the measurement in the folder ``since``: of
    ``n`` prompts, how often the event happened ``before`` and ``after``, and in how many it happened in one of the two
    alone. ``p``: exact McNemar, ``p_holm`` corrected over the metrics of the comparison."""

    split: str
    category: str
    since: str
    metric: str
    better: str
    n: int
    before: int
    after: int
    gained: int
    lost: int
    p: float
    p_holm: float

    @property
    def is_significant(self) -> bool:
        """Whether the difference is more than chance would show."""
        return self.p_holm < 0.05

    @property
    def is_worse(self) -> bool:
        """Whether it went the wrong way."""
        wrong = self.after > self.before if self.better == "lower" else self.after < self.before
        return wrong and self.better in ("higher", "lower")


def find_score_changes(
    threads: RunGraph, checkpoint: Checkpoint, categories: Collection[str] = ()
) -> tuple[ScoreChange, ...]:
    """What moved when this checkpoint took the place of the policy before it; of the run's last policy, also what moved
    on held-out from the start to the end. Then the same on the prompts of these categories alone."""
    found: list[ScoreChange] = []
    for now in threads.measurements:
        if now.folder == checkpoint.folder:
            earlier = _previous_measurement(threads, now)
        elif now.folder == FINAL_FOLDER and checkpoint.final:
            earlier = next((m for m in threads.measurements if (m.folder, m.split) == (START_FOLDER, now.split)), None)
        else:
            continue
        if earlier is not None:
            found += _compare_metrics(earlier, now)
            found += (
                _compare_metrics(earlier, _restrict_to(now, categories), " or ".join(sorted(categories)))
                if categories
                else ()
            )
    return tuple(found)


def _restrict_to(measured: PolicyMeasurement, categories: Collection[str]) -> PolicyMeasurement:
    """Only what was measured on prompts of these categories."""
    ids = {id for id, exchange in measured.asked.items() if exchange.prompt.meta.get("category") in categories}
    return replace(measured, measurements=tuple(m for m in measured.measurements if m.id in ids))


def _previous_measurement(threads: RunGraph, now: PolicyMeasurement) -> PolicyMeasurement | None:
    """The measurement on the same split of the policy that ``now`` would replace: the last one not rolled back."""
    rolled_back = {c.folder for c in threads.checkpoints if c.rolled_back}
    earlier = None
    for measured in threads.measurements:
        if measured is now:
            break
        if measured.split == now.split and measured.folder not in rolled_back:
            earlier = measured
    return earlier


def _compare_metrics(earlier: PolicyMeasurement, now: PolicyMeasurement, category: str = "") -> list[ScoreChange]:
    pairs = count_pairs(earlier.measurements, now.measurements)
    others = {m.id: m.outcomes for m in now.measurements}
    before = {
        metric: sum(
            bool(m.outcomes.get(metric))
            for m in drop_copies(earlier.measurements)
            if others.get(m.id, {}).get(metric) is not None
        )
        for metric in pairs
    }
    corrected = holm([pair.p for pair in pairs.values()])
    return [
        ScoreChange(
            split=now.split,
            category=category,
            since=earlier.folder,
            metric=metric,
            better=now.better.get(metric, "higher"),
            before=before[metric],
            after=before[metric] + pair.gained - pair.lost,
            p_holm=p_holm,
            **pair.model_dump(exclude={"metric"}),
        )
        for (metric, pair), p_holm in zip(pairs.items(), corrected, strict=True)
    ]
