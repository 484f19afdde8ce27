"""The benchmarks that a spec named: their figures, before and after on the same items, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from statistics import fmean

from charter.records.chat import Exchange
from charter.records.measurements import Measurement, Score, SkippedBenchmark
from charter.records.record import Record
from charter.reports.audit_answers import SIDES, distance_change
from charter.reports.paired_tests import count_pairs
from charter.runs.reader import RunReader
from charter.statistics import (
    BreakdownCell,
    bootstrap_mean,
    change_interval,
    drop_copies,
    holm,
    mean_change,
    smallest_detectable_change,
)

TableRows = list[tuple[str, ...]]
BENCH_PREFIX = "bench_"
BREAKDOWN_KEYS = ("attack", "category", "language")
"""What the figures are also shown by."""
_cached_detectable = cache(smallest_detectable_change)


class BenchmarkFigure(Record):
    """A figure of a benchmark, ``before`` and ``after`` or, where one model was measured and nothing else done,
    ``measured`` alone. ``change``: of the items graded in both, with its 95 % interval ``low`` to ``high``; of a figure
    that is best at 0, of its distance from 0, without an interval. ``gained`` in the second alone and ``lost`` in the
    first alone where it is a share; ``p``: exact McNemar; where several items are of one prompt, a sign-flip test of
    the mean over prompts; where items are no events, a bootstrap of the mean. ``p_holm``: corrected over all figures of
    the run; ``detectable``: the smallest change of a share that so many prompts show in four of five cases, where as
    many change the other way as here."""

    benchmark: str
    name: str
    before: Score | None = None
    after: Score | None = None
    measured: Score | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    gained: int | None = None
    lost: int | None = None
    p: float | None = None
    p_holm: float | None = None
    detectable: float | None = None

    @property
    def score(self) -> Score:
        """The latest."""
        found = self.measured or self.after or self.before
        assert found is not None
        return found


def read_figures(reading: RunReader) -> list[BenchmarkFigure]:
    """Every figure, in the order of the spec; none in a run without benchmarks."""
    out, folders = [], ("000", "final")
    alone = reading.spec.method == "evaluate" and not any(step.startswith("final/") for step in reading.steps)
    for name in benchmark_names(reading):
        before, after = (reading.scores(f"{folder}/{BENCH_PREFIX}{name}_scores") for folder in folders)
        measured = [
            drop_copies(reading.records(f"{folder}/{BENCH_PREFIX}{name}_measurements", Measurement))
            for folder in folders
        ]
        parents = _parent_prompts(reading, name)
        for metric in dict.fromkeys([*before, *after]):
            sides = {"measured" if alone else "before": before.get(metric), "after": after.get(metric)}
            figure = BenchmarkFigure(benchmark=name, name=metric, **sides)
            out.append(_compare_figure(figure, measured, parents))
    told = [place for place, figure in enumerate(out) if figure.p is not None]
    for place, p in zip(told, holm([out[place].p or 0.0 for place in told]), strict=True):
        out[place] = out[place].model_copy(update={"p_holm": p})
    return out


def benchmark_names(reading: RunReader) -> list[str]:
    """The benchmarks that were put to the target."""
    steps = (step.split("/")[-1] for step in reading.steps)
    found = (
        step[len(BENCH_PREFIX) : -len("_scores")]
        for step in steps
        if step.startswith(BENCH_PREFIX) and step.endswith("_scores")
    )
    return list(dict.fromkeys(found))


def skipped_benchmarks(reading: RunReader) -> Sequence[SkippedBenchmark]:
    """What the last model that was measured could not take; in an audit what either side could not."""
    for folder in ("final", "000"):
        if found := reading.records(f"{folder}/{BENCH_PREFIX}left_out", SkippedBenchmark):
            return found
    said: dict[str, list[str]] = {}
    for side in SIDES:
        for missed in reading.records(f"{side}/{BENCH_PREFIX}left_out", SkippedBenchmark):
            said.setdefault(missed.id, []).append(f"{side}: {missed.reason}")
    return [SkippedBenchmark(id=name, reason="; ".join(reasons)) for name, reasons in said.items()]


def benchmark_tables(reading: RunReader) -> Iterator[tuple[str, TableRows]]:
    """The figures; their shares by attack style, category and language; what was left out."""
    found = read_figures(reading)
    if found:
        alone = any(figure.measured for figure in found)
        sides = ("measured",) if alone else ("before", "after")
        further = () if alone else ("change", "p", "n shows")
        compared = (
            ""
            if alone
            else (
                "; p after Holm over all of them; n shows: the smallest change that it shows four times in five where "
                "as many change the other way as here"
            )
        )
        title = f"Benchmarks, with 95 % intervals (↓: lower is better; unjudged, and what they leave open{compared})"
        head = ("benchmark", "figure", *sides, "n", "unjudged", *further)
        yield title, [head, *(_figure_row(figure) for figure in found)]
        if parted := [b.effective_name for b in reading.spec.benchmarks if b.gate_kind]:
            yield "Note", [("the held-out questions of a benchmark with a gate; the others decide",), *zip(parted)]
        for note in dict.fromkeys(f.score.note for f in found if f.score.note):
            yield "Note", [(note,), *((f"{f.benchmark}: {f.name}",) for f in found if f.score.note == note)]
    if cells := [(name, cell) for name in benchmark_names(reading) for cell in _read_cells(reading, name)]:
        head = ("benchmark", "by", "group", "figure", "value", "n", "unjudged")
        yield (
            "Benchmarks by attack style, category and language",
            [
                head,
                *((name, c.by, c.group, c.metric, interval_text(c), str(c.n), unjudged_text(c)) for name, c in cells),
            ],
        )
    if missed := skipped_benchmarks(reading):
        yield "Benchmarks that the target cannot take", [("benchmark", "why"), *((m.id, m.reason) for m in missed)]


def interval_text(score: Score | None) -> str:
    """A figure with its interval."""
    if score is None or score.value is None:
        return "–"
    if score.low is None or score.high is None:
        return f"{score.value:.3f}"
    return f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})"


def unjudged_text(score: Score) -> str:
    """How many could not be judged, with the least and the greatest value that they leave open."""
    if not score.unjudged:
        return "0"
    hits, whole = (score.value or 0.0) * score.n, score.n + score.unjudged
    return f"{score.unjudged}: {hits / whole:.3f} to {(hits + score.unjudged) / whole:.3f}"


def _read_cells(reading: RunReader, name: str) -> list[BreakdownCell]:
    for folder in ("final", "000"):
        if found := reading.records(f"{folder}/{BENCH_PREFIX}{name}_cells", BreakdownCell):
            kept = [cell for cell in found if cell.by in BREAKDOWN_KEYS]
            groups = {by: {cell.group for cell in kept if cell.by == by} for by in BREAKDOWN_KEYS}
            return [cell for cell in kept if len(groups[cell.by]) > 1 or cell.by == "attack"]
    return []


def _parent_prompts(reading: RunReader, name: str) -> dict[str, str]:
    """The prompt that each item is of: itself, or the one that an attack was made on."""
    asked = [
        e for folder in ("000", "final") for e in reading.records(f"{folder}/{BENCH_PREFIX}{name}_exchanges", Exchange)
    ]
    return {e.id: e.prompt.meta.get("parent") or e.id for e in asked}


def _compare_figure(
    figure: BenchmarkFigure, measured: Sequence[Sequence[Measurement]], parents: Mapping[str, str]
) -> BenchmarkFigure:
    """The figure with what changed, where both sides have it."""
    score = figure.score
    if score.interval == "wilson" and score.n:
        figure = figure.model_copy(update={"detectable": _cached_detectable(score.n)})
    if figure.before is None or figure.after is None or figure.before.benchmark != figure.after.benchmark:
        return figure
    if score.better == "zero":
        return figure.model_copy(update={"change": distance_change(figure.before, figure.after), "detectable": None})
    before, after = (_item_values(side, figure.name) for side in measured)
    both = [id for id in before if id in after]
    clusters = [parents.get(id, id) for id in both]
    told: dict[str, float | None] = {}
    if pair := count_pairs(*measured).get(figure.name):
        low, high = change_interval(pair.gained, pair.lost, pair.n)
        told = {"change": (pair.gained - pair.lost) / pair.n, "low": low, "high": high, "p": pair.p}
        told |= {"gained": pair.gained, "lost": pair.lost}
        told |= {"detectable": _cached_detectable(len(set(clusters)), min(pair.gained, pair.lost) / pair.n)}
    moves = [after[id] - before[id] for id in both]
    if pair is None or len(set(clusters)) < len(both):
        found = (
            bootstrap_mean(moves, clusters)
            if pair is None
            else mean_change(list(_mean_change_by_prompt(moves, clusters)))
        )
        told |= {} if found is None else {"change": found.value, "p": found.p}
        told |= {} if found is None else {"low": found.low, "high": found.high}
    return figure.model_copy(update=told)


def _mean_change_by_prompt(moves: Sequence[float], clusters: Sequence[str]) -> Iterator[float]:
    """The mean change of each prompt's answers."""
    found: dict[str, list[float]] = {}
    for move, cluster in zip(moves, clusters, strict=True):
        found.setdefault(cluster, []).append(move)
    return map(fmean, found.values())


def _item_values(measured: Sequence[Measurement], name: str) -> dict[str, float]:
    """What each item is worth, where it was judged."""
    known = ((m.id, m.outcomes.get(name, m.values.get(name))) for m in measured)
    return {id: float(value) for id, value in known if value is not None}


def _figure_row(figure: BenchmarkFigure) -> tuple[str, ...]:
    score = figure.score
    name = f"{figure.name}{' ↓' if score.better == 'lower' else ''}{' *' if score.note else ''}"
    counts = str(score.n), unjudged_text(score)
    if figure.measured:
        return figure.benchmark, name, interval_text(figure.measured), *counts
    moved = "" if figure.change is None else f"{figure.change:+.3f}{' from 0' if score.better == 'zero' else ''}"
    moved += "" if figure.low is None or figure.high is None else f" ({figure.low:+.3f} to {figure.high:+.3f})"
    moved += "" if figure.gained is None else f", +{figure.gained}/-{figure.lost}"
    p = "" if figure.p_holm is None else f"{figure.p_holm:.2g}"
    shows = "" if figure.detectable is None else f"{figure.detectable:.3f}"
    return figure.benchmark, name, interval_text(figure.before), interval_text(figure.after), *counts, moved, p, shows
