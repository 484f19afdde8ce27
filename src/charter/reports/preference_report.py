"""Learning from preferences: what the pairs were, how right the reward model is, and what was watched."""

from __future__ import annotations

from charter.records.decisions import Decision
from charter.records.preferences import PairSummary, PolicyStats, PositionBias, RewardModelFit
from charter.records.record import Record
from charter.reports.skipped import read_policies
from charter.runs.reader import RunReader

MONITOR_FIGURES = ("kl", "chosen", "rejected", "margin", "length", "refusals", "good", "reward")


class MonitorCurve(Record):
    """A figure that was watched in one training: (optimiser step, value), oldest first; or over the policies, by
    folder. ``step``: of which training, or of what; ``unit``: what is counted."""

    step: str
    name: str
    points: tuple[tuple[int, float], ...]
    unit: str = "step"

    @property
    def lowest(self) -> float:
        """The least value."""
        return min(value for _, value in self.points)

    @property
    def highest(self) -> float:
        """The greatest value."""
        return max(value for _, value in self.points)

    @property
    def description(self) -> str:
        """The chart in words: where it begins and ends, of few points all that lies between."""
        (_, first), *between, (_, last) = self.points
        if self.unit == "step":
            return f"{self.name} in {self.step}, from {first:.3g} to {last:.3g}"
        over = "".join(f" over {value:.3g}" for _, value in between)
        return f"{self.name} of {self.step}, from {first:.3g}{over} to {last:.3g}"

    def chart_point(self, number: int) -> tuple[float, float]:
        """A point in the chart: x from 34 to 250, y from 10 (the greatest) to 120 (the least)."""
        wide, tall = self.points[-1][0] - self.points[0][0], self.highest - self.lowest
        at, value = self.points[number]
        x = 34 + 216 * ((at - self.points[0][0]) / wide if wide else 0.5)
        return x, 120 - 110 * ((value - self.lowest) / tall if tall else 0.5)


class PreferenceReport(Record):
    """``policies``: what the guards saw of the start (``000``) and of each policy tried; ``used``: the folder of the
    one that stayed, ``rolled_back``: of those that did not; ``unfit``: why nothing was practised toward the reward
    model."""

    policies: dict[str, PolicyStats]
    used: str
    position: PositionBias | None
    pair_summary: PairSummary | None
    fit: RewardModelFit | None
    reward_model_rejected: str = ""
    rolled_back: tuple[str, ...] = ()

    @property
    def curves(self) -> list[MonitorCurve]:
        """What the guards saw, from the start over every policy tried: a curve for each figure told of two or more."""
        out = []
        for name in MONITOR_FIGURES:
            told = ((int(folder), getattr(seen, name)) for folder, seen in self.policies.items())
            points = tuple((number, float(value)) for number, value in told if value is not None)
            if len(points) > 1:
                out.append(MonitorCurve(step="the policies", name=name, points=points, unit="policy"))
        return out

    @property
    def before(self) -> PolicyStats:
        """The start."""
        return self.policies["000"]

    @property
    def after(self) -> PolicyStats:
        """The policy that stayed."""
        return self.policies[self.used]


def read_preference_report(reading: RunReader) -> PreferenceReport | None:
    """None where nothing was learnt from preferences."""
    found = {}
    for folder in ("000", *reading.iterations):
        if guarded := reading.records(f"{folder}/policy_stats", PolicyStats):
            found[folder] = guarded[0]
    if "000" not in found:
        return None
    kept = str((reading.outcome.get("policy") or {}).get("adapter") or "").split("/")[0]
    position, fit = reading.records("000/position", PositionBias), reading.records("reward/fit", RewardModelFit)
    parted = reading.records("000/pair_summary", PairSummary)
    decided = reading.records("reward/decision", Decision)
    undone = [f for f in found for d in reading.records(f"{f}/decision", Decision) if d.action != "go_on"]
    return PreferenceReport(
        policies=found,
        used=kept if kept in found else "000",
        position=position[0] if position else None,
        pair_summary=parted[0] if parted else None,
        fit=fit[0] if fit else None,
        reward_model_rejected=decided[0].reason if decided and decided[0].action == "stop" else "",
        rolled_back=tuple(undone),
    )


def read_curves(reading: RunReader) -> list[MonitorCurve]:
    """What was watched in each training, a curve for each figure that has two points or more."""
    out = []
    for step, policy in read_policies(reading).items():
        names = dict.fromkeys(name for seen in policy.curve for name in seen.figures)
        for name in names:
            points = tuple((seen.step, seen.figures[name]) for seen in policy.curve if name in seen.figures)
            out += [MonitorCurve(step=step, name=name, points=points)] if len(points) > 1 else []
    return out
