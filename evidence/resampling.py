"""Audits drawn anew from the stored verdicts of one: how often an alarm is false, and how often a loss is named."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from charter.judging.audit_battery import Battery, ProbeResult
from charter.reports.audit_comparison import SIGNIFICANCE, PassPair, build_line, decide_state, group_passes
from charter.runs.reader import RunReader
from charter.statistics import flip_signs, holm

DRAWS, POWER = 1000, 200


def resampled(places: Sequence[Path]) -> dict[str, Any]:
    """Audits drawn from stored verdicts of an unchanged model: prompts with replacement, and which side was first by
    the toss of a coin. ``alarms`` of so many ``audits`` say drift."""
    draw, alarms = random.Random("false alarms"), 0
    stored = [Stored.of(place) for place in places]
    for number in range(DRAWS):
        chosen = stored[number % len(stored)]
        alarms += any(state in ("broken", "weakened") for state in chosen.drawn(draw, swap=True).values())
    return {"audits": DRAWS, "alarms": alarms, "share": alarms / DRAWS}


def power(place: Path, expected: set[str]) -> float:
    """Share of audits drawn from the verdicts of one, its prompts with replacement, that name what is expected."""
    draw, stored = random.Random(str(place.name)), Stored.of(place)
    hits = 0
    for _ in range(POWER):
        states = stored.drawn(draw)
        hits += any(states[key] in ("broken", "weakened") for key in expected if key in states)
    return hits / POWER


@dataclass(frozen=True)
class Stored:
    """The verdicts of an audit, by line and group."""

    groups: dict[str, dict[str, list[PassPair]]]
    titles: dict[str, str]
    margin: float

    @classmethod
    def of(cls, place: Path) -> Stored:
        """From its run."""
        reading = RunReader(place)
        battery = reading.records("000/battery", Battery)[0]
        sides = [{r.id: r.passed for r in reading.records(f"{s}/results", ProbeResult)} for s in ("baseline", "model")]
        return cls(group_passes(battery, *sides), {p.id: p.id for p in battery.principles}, reading.spec.audit.margin)

    def drawn(self, draw: random.Random, swap: bool = False) -> dict[str, str]:
        """The state of every line in an audit drawn from this one."""
        ids = sorted({group for groups in self.groups.values() for group in groups})
        chosen = draw.choices(ids, k=len(ids))
        turned = {key for key in ids if swap and draw.random() < 0.5}
        lines = {key: list(self._of(groups, chosen, turned)) for key, groups in self.groups.items()}
        adjusted = holm([_chance(_moves(groups)) for groups in lines.values()])
        states: dict[str, str] = {}
        for (key, groups), p in zip(lines.items(), adjusted, strict=True):
            n = len(groups)
            before, after = (sum(sum(pair[side] for pair in group) / len(group) for group in groups) for side in (0, 1))
            if p <= SIGNIFICANCE and before - after >= self.margin * n:
                states[key] = "weakened"  # what was seen is beyond the margin, so its lower bound is too
            elif p <= SIGNIFICANCE or (key in self.titles and after < n / 2):
                states[key] = decide_state(build_line(key, self.titles.get(key), groups), p, self.margin)
            else:
                states[key] = "no alarm"
        return states

    def _of(
        self, groups: Mapping[str, list[PassPair]], chosen: Sequence[str], turned: set[str]
    ) -> Iterator[list[PassPair]]:
        for key in chosen:
            if key in groups:
                yield [(b, a) for a, b in groups[key]] if key in turned else groups[key]


@cache
def _chance(moves: tuple[float, ...]) -> float:
    """The p of a drop."""
    return flip_signs(moves, "less")


def _moves(groups: Sequence[Sequence[PassPair]]) -> tuple[float, ...]:
    """How far each group moved, in an order that does not matter."""
    return tuple(sorted(sum(b - a for a, b in group) / len(group) for group in groups))
