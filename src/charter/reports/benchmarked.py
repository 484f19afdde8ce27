"""The benchmarks that a spec named: their figures, before and after on the same items, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from statistics import fmean

from charter.nouns import Exchange, Measurement, Record, Score
from charter.ports import LeftOut
from charter.reports.audit_sides import SIDES
from charter.reports.paired import paired
from charter.reports.reading import Reading
from charter.statistics import Cell, change, detectable, holm, mean, moved

Rows = list[tuple[str, ...]]
PREFIX = "bench_"
SHOWN = ("attack", "category", "language")
"""What the figures are also shown by."""
_least = cache(detectable)


class Figure(Record):
    """A figure of a benchmark, ``before`` and ``after`` or, where one model was measured and nothing else done,
    ``measured`` alone. ``change``: of the items graded in both, with its 95 %
    interval ``low`` to ``high``; ``gained`` in the second alone and ``lost`` in the first alone where it is a share;
    ``p``: exact McNemar, or a bootstrap over the prompts where items are no shares or several are of one prompt;
    ``p_holm``: corrected over all figures of the run; ``shows``: the smallest change of a share that so many prompts
    show in four of five cases."""

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
    shows: float | None = None

    @property
    def score(self) -> Score:
        """The latest."""
        found = self.measured or self.after or self.before
        assert found is not None
        return found


def benchmarked(reading: Reading) -> list[Figure]:
    """Every figure, in the order of the spec; none in a run without benchmarks."""
    out, folders = [], ("000", "final")
    alone = reading.spec.method == "evaluate" and not any(step.startswith("final/") for step in reading.steps)
    for name in names(reading):
        before, after = (reading.scores(f"{folder}/{PREFIX}{name}_scores") for folder in folders)
        measured = [reading.records(f"{folder}/{PREFIX}{name}_measurements", Measurement) for folder in folders]
        parents = _parents(reading, name)
        for metric in dict.fromkeys([*before, *after]):
            sides = {"measured" if alone else "before": before.get(metric), "after": after.get(metric)}
            figure = Figure(benchmark=name, name=metric, **sides)
            out.append(_compared(figure, measured, parents))
    told = [place for place, figure in enumerate(out) if figure.p is not None]
    for place, p in zip(told, holm([out[place].p or 0.0 for place in told]), strict=True):
        out[place] = out[place].model_copy(update={"p_holm": p})
    return out


def names(reading: Reading) -> list[str]:
    """The benchmarks that were put to the target."""
    steps = (step.split("/")[-1] for step in reading.steps)
    found = (
        step[len(PREFIX) : -len("_scores")] for step in steps if step.startswith(PREFIX) and step.endswith("_scores")
    )
    return list(dict.fromkeys(found))


def left_out(reading: Reading) -> list[LeftOut]:
    """What the last model that was measured could not take; in an audit what either side could not."""
    for folder in ("final", "000"):
        if found := reading.records(f"{folder}/{PREFIX}left_out", LeftOut):
            return found
    said: dict[str, list[str]] = {}
    for side in SIDES:
        for missed in reading.records(f"{side}/{PREFIX}left_out", LeftOut):
            said.setdefault(missed.id, []).append(f"{side}: {missed.reason}")
    return [LeftOut(id=name, reason="; ".join(reasons)) for name, reasons in said.items()]


def benchmark_tables(reading: Reading) -> Iterator[tuple[str, Rows]]:
    """The figures; their shares by attack style, category and language; what was left out."""
    found = benchmarked(reading)
    if found:
        alone = any(figure.measured for figure in found)
        sides = ("measured",) if alone else ("before", "after")
        further = () if alone else ("change", "p", "smallest change that n shows")
        compared = "" if alone else "; p after Holm over all of them"
        title = f"Benchmarks, with 95 % intervals (↓: lower is better; unjudged, and what they leave open{compared})"
        head = ("benchmark", "figure", *sides, "n", "unjudged", *further)
        yield title, [head, *(_row(figure) for figure in found)]
        if parted := [b.called for b in reading.spec.benchmarks if b.gated]:
            yield "Note", [("the held-out questions of a benchmark with a gate; the others decide",), *zip(parted)]
        for note in dict.fromkeys(f.score.note for f in found if f.score.note):
            yield "Note", [(note,), *((f"{f.benchmark}: {f.name}",) for f in found if f.score.note == note)]
    if cells := [(name, cell) for name in names(reading) for cell in _cells(reading, name)]:
        head = ("benchmark", "by", "group", "figure", "value", "n", "unjudged")
        yield (
            "Benchmarks by attack style, category and language",
            [head, *((name, c.by, c.group, c.metric, interval(c), str(c.n), unjudged(c)) for name, c in cells)],
        )
    if missed := left_out(reading):
        yield "Benchmarks that the target cannot take", [("benchmark", "why"), *((m.id, m.reason) for m in missed)]


def interval(score: Score | None) -> str:
    """A figure with its interval."""
    if score is None or score.value is None:
        return "–"
    if score.low is None or score.high is None:
        return f"{score.value:.3f}"
    return f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})"


def unjudged(score: Score) -> str:
    """How many could not be judged, with the least and the greatest value that they leave open."""
    if not score.unjudged:
        return "0"
    hits, whole = (score.value or 0.0) * score.n, score.n + score.unjudged
    return f"{score.unjudged}: {hits / whole:.3f} to {(hits + score.unjudged) / whole:.3f}"


def _cells(reading: Reading, name: str) -> list[Cell]:
    for folder in ("final", "000"):
        if found := reading.records(f"{folder}/{PREFIX}{name}_cells", Cell):
            kept = [cell for cell in found if cell.by in SHOWN]
            groups = {by: {cell.group for cell in kept if cell.by == by} for by in SHOWN}
            return [cell for cell in kept if len(groups[cell.by]) > 1 or cell.by == "attack"]
    return []


def _parents(reading: Reading, name: str) -> dict[str, str]:
    """The prompt that each item is of: itself, or the one that an attack was made on."""
    asked = [e for folder in ("000", "final") for e in reading.records(f"{folder}/{PREFIX}{name}_exchanges", Exchange)]
    return {e.id: e.prompt.meta.get("parent") or e.id for e in asked}


def _compared(figure: Figure, measured: Sequence[Sequence[Measurement]], parents: Mapping[str, str]) -> Figure:
    """The figure with what changed, where both sides have it."""
    score = figure.score
    if score.interval == "wilson" and score.n:
        figure = figure.model_copy(update={"shows": _least(score.n)})
    if figure.before is None or figure.after is None or figure.before.benchmark != figure.after.benchmark:
        return figure
    before, after = (_seen(side, figure.name) for side in measured)
    both = [id for id in before if id in after]
    clusters = [parents.get(id, id) for id in both]
    told: dict[str, float | None] = {}
    if pair := paired(*measured).get(figure.name):
        low, high = change(pair.gained, pair.lost, pair.n)
        told = {"change": (pair.gained - pair.lost) / pair.n, "low": low, "high": high, "p": pair.p}
        told |= {"gained": pair.gained, "lost": pair.lost, "shows": _least(len(set(clusters)))}
    moves = [after[id] - before[id] for id in both]
    if pair is None or len(set(clusters)) < len(both):
        found = mean(moves, clusters) if pair is None else moved(list(_by_prompt(moves, clusters)))
        told |= {} if found is None else {"change": found.value, "p": found.p}
        told |= {} if found is None else {"low": max(-1.0, found.low), "high": min(1.0, found.high)}
    return figure.model_copy(update=told)


def _by_prompt(moves: Sequence[float], clusters: Sequence[str]) -> Iterator[float]:
    """The mean change of each prompt's answers."""
    found: dict[str, list[float]] = {}
    for move, cluster in zip(moves, clusters, strict=True):
        found.setdefault(cluster, []).append(move)
    return map(fmean, found.values())


def _seen(measured: Sequence[Measurement], name: str) -> dict[str, float]:
    """What each item is worth, where it was judged."""
    known = ((m.id, m.outcomes.get(name, m.values.get(name))) for m in measured)
    return {id: float(value) for id, value in known if value is not None}


def _row(figure: Figure) -> tuple[str, ...]:
    score = figure.score
    name = f"{figure.name}{' ↓' if score.better == 'lower' else ''}{' *' if score.note else ''}"
    counts = str(score.n), unjudged(score)
    if figure.measured:
        return figure.benchmark, name, interval(figure.measured), *counts
    moved = "" if figure.change is None else f"{figure.change:+.3f}"
    moved += "" if figure.low is None or figure.high is None else f" ({figure.low:+.3f} to {figure.high:+.3f})"
    moved += "" if figure.gained is None else f", +{figure.gained}/-{figure.lost}"
    p = "" if figure.p_holm is None else f"{figure.p_holm:.2g}"
    shows = "" if figure.shows is None else f"{figure.shows:.3f}"
    return figure.benchmark, name, interval(figure.before), interval(figure.after), *counts, moved, p, shows
