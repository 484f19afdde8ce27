"""What a side of an audit answered, item by item, and which benchmarks it could not take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from charter.judging.audit_battery import ProbeResult
from charter.records.chat import Exchange
from charter.records.measurements import Measurement, Score, SkippedBenchmark
from charter.runs.reader import RunReader

SIDES = ("baseline", "model")
"""Folders of an audit."""


def read_answers(reading: RunReader, side: str) -> list[ProbeResult]:
    """What a side's answers are worth: those to the battery, then item by item those to the benchmarks, those of one
    prompt in one group. Left out are figures that are computed from all items at once, which cannot be paired, and
    those of which neither more nor less is better."""
    found = list(reading.records(f"{side}/results", ProbeResult))
    for benchmark in _measured_benchmarks(reading, side):
        better = {s.id: s.better for s in reading.records(f"{side}/bench_{benchmark}_scores", Score)}
        asked = reading.records(f"{side}/bench_{benchmark}_exchanges", Exchange)
        parents = {e.id: e.prompt.meta.get("parent") or e.id for e in asked}
        for m in reading.records(f"{side}/bench_{benchmark}_measurements", Measurement):
            seen: dict[str, bool | float | None] = {**m.outcomes, **m.values}
            passed = {
                f"{benchmark}: {key}": _goodness(x, better[key])
                for key, x in seen.items()
                if _has_direction(better.get(key))
            }
            parent = parents.get(m.id, m.id)
            group = f"{benchmark}/{parent}" if parent != m.id else ""
            found.append(ProbeResult(id=f"{benchmark}/{m.id}", passed=passed, group=group))
    return found


def note_missing_benchmarks(
    reading: RunReader, benchmarks: Iterable[str], before: Sequence[ProbeResult], after: Sequence[ProbeResult]
) -> Iterator[str]:
    """A note for each benchmark of the battery that one side or both have no line of, with the reason where it is
    known."""
    have = {
        side: {name for name in benchmarks for r in found if r.id.startswith(f"{name}/") and r.passed}
        for side, found in zip(SIDES, (before, after), strict=True)
    }
    reasons = {
        side: {x.id: x.reason for x in reading.records(f"{side}/bench_left_out", SkippedBenchmark)} for side in SIDES
    }
    measured = {side: set(_measured_benchmarks(reading, side)) for side in SIDES}
    for benchmark in benchmarks:
        lacking = [side for side in SIDES if benchmark not in have[side]]
        if lacking:
            yield f"Benchmark {benchmark}: {_missing_reason(benchmark, lacking, reasons, measured)}"


def note_distances(reading: RunReader) -> Iterator[str]:
    """A note for each figure that is best at 0 and that both sides have: how far it went from 0, or came closer."""
    for benchmark in _measured_benchmarks(reading, SIDES[1]):
        before, after = (reading.scores(f"{side}/bench_{benchmark}_scores") for side in SIDES)
        for name in sorted(before.keys() & after.keys()):
            change = distance_change(before[name], after[name])
            if after[name].better == "zero" and change is not None and before[name].benchmark == after[name].benchmark:
                yield (
                    f"Benchmark {benchmark}: the distance of {name} from 0 changed by {change:+.3f} "
                    f"({before[name].value:+.3f} before, {after[name].value:+.3f} now); this decides nothing"
                )


def distance_change(before: Score, after: Score) -> float | None:
    """How much farther from 0 a figure is now; None where a side has no value."""
    return None if before.value is None or after.value is None else abs(after.value) - abs(before.value)


def _missing_reason(
    benchmark: str, lacking: Sequence[str], reasons: Mapping[str, Mapping[str, str]], measured: Mapping[str, set[str]]
) -> str:
    known = [reasons[side][benchmark] for side in lacking if benchmark in reasons[side]]
    if not known and any(benchmark in measured[side] for side in lacking):
        return "compared by no line: it has no figure of single items that is better the higher or the lower"
    said = f"the {lacking[0]} could not take it, so nothing can be told"
    if len(lacking) == len(SIDES):
        said = "neither side could take it"
    return f"{said}{f' ({known[0]})' if known else ''}"


def _measured_benchmarks(reading: RunReader, side: str) -> Iterator[str]:
    """The benchmarks that a side was measured by."""
    for step in reading.steps:
        folder, _, name = step.partition("/")
        if folder == side and name.startswith("bench_") and name.endswith("_measurements"):
            yield name.removeprefix("bench_").removesuffix("_measurements")


def _has_direction(better: str | None) -> bool:
    return better in ("higher", "lower")


def _goodness(seen: bool | float | None, better: str) -> bool | float | None:
    return seen if seen is None or better == "higher" else 1 - seen
