"""The benchmarks that a spec named: their figures, before and after on the same items, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from charter.nouns import Measurement, Record, Score
from charter.ports import LeftOut
from charter.reports.paired import paired
from charter.reports.reading import Reading
from charter.statistics import Cell, detectable, holm, mean

Rows = list[tuple[str, ...]]
PREFIX = "bench_"
SHOWN = ("attack", "category")
"""What the figures are also shown by."""
_least = cache(detectable)


class Figure(Record):
    """A figure of a benchmark. ``change``: of the items graded in both, ``gained`` in the second alone and ``lost`` in
    the first alone where it is a share; ``p``: exact McNemar, or a bootstrap over the items; ``p_holm``: corrected over
    all figures of the run; ``shows``: the smallest change of a share that n shows in four of five cases."""

    benchmark: str
    name: str
    before: Score | None
    after: Score | None
    change: float | None = None
    gained: int | None = None
    lost: int | None = None
    p: float | None = None
    p_holm: float | None = None
    shows: float | None = None

    @property
    def score(self) -> Score:
        """The latest."""
        found = self.after or self.before
        assert found is not None
        return found


def benchmarked(reading: Reading) -> list[Figure]:
    """Every figure, in the order of the spec; none in a run without benchmarks."""
    out = []
    for name in names(reading):
        sides = [reading.scores(f"{folder}/{PREFIX}{name}_scores") for folder in ("000", "final")]
        measured = [
            reading.records(f"{folder}/{PREFIX}{name}_measurements", Measurement) for folder in ("000", "final")
        ]
        for metric in dict.fromkeys([*sides[0], *sides[1]]):
            figure = Figure(benchmark=name, name=metric, before=sides[0].get(metric), after=sides[1].get(metric))
            out.append(_compared(figure, measured))
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
    """What the last model that was measured could not take."""
    for folder in ("final", "000"):
        if found := reading.records(f"{folder}/{PREFIX}left_out", LeftOut):
            return found
    return []


def benchmark_tables(reading: Reading) -> Iterator[tuple[str, Rows]]:
    """The figures; their shares by attack style and category; what was left out."""
    found = benchmarked(reading)
    if found:
        title = "Benchmarks, with 95 % intervals (↓: lower is better; p after Holm over all of them)"
        yield (
            title,
            [("benchmark", "figure", "before", "after", "n", "change", "p", "smallest change that n shows")]
            + [_row(figure) for figure in found],
        )
        for note in dict.fromkeys(f.score.note for f in found if f.score.note):
            yield "Note", [(note,), *((f"{f.benchmark}: {f.name}",) for f in found if f.score.note == note)]
    if cells := [(name, cell) for name in names(reading) for cell in _cells(reading, name)]:
        head = ("benchmark", "by", "group", "figure", "value", "n")
        yield (
            "Benchmarks by attack style and category",
            [head, *((name, c.by, c.group, c.metric, interval(c), counted(c)) for name, c in cells)],
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


def counted(score: Score) -> str:
    """n, and the unjudged."""
    return f"{score.n}" + (f" + {score.unjudged} unjudged" if score.unjudged else "")


def _cells(reading: Reading, name: str) -> list[Cell]:
    for folder in ("final", "000"):
        if found := reading.records(f"{folder}/{PREFIX}{name}_cells", Cell):
            kept = [cell for cell in found if cell.by in SHOWN]
            groups = {by: {cell.group for cell in kept if cell.by == by} for by in SHOWN}
            return [cell for cell in kept if len(groups[cell.by]) > 1 or cell.by == "attack"]
    return []


def _compared(figure: Figure, measured: Sequence[Sequence[Measurement]]) -> Figure:
    """The figure with what changed, where both sides have it."""
    score = figure.score
    if score.interval == "wilson" and score.n:
        figure = figure.model_copy(update={"shows": _least(score.n)})
    if figure.before is None or figure.after is None or figure.before.benchmark != figure.after.benchmark:
        return figure
    if pair := paired(*measured).get(figure.name):
        change = (pair.gained - pair.lost) / pair.n
        told = {"change": change, "gained": pair.gained, "lost": pair.lost, "p": pair.p, "shows": _least(pair.n)}
        return figure.model_copy(update=told)
    before, after = ({m.id: m.values[figure.name] for m in side if figure.name in m.values} for side in measured)
    both = [id for id in before if id in after]
    found = mean([after[id] - before[id] for id in both], both)
    return figure.model_copy(update={"change": found.value, "p": found.p}) if found else figure


def _row(figure: Figure) -> tuple[str, ...]:
    score = figure.score
    name = f"{figure.name}{' ↓' if score.better == 'lower' else ''}{' *' if score.note else ''}"
    change = "" if figure.change is None else f"{figure.change:+.3f}"
    change += "" if figure.gained is None else f" (+{figure.gained}/-{figure.lost})"
    p = "" if figure.p_holm is None else f"{figure.p_holm:.2g}"
    shows = "" if figure.shows is None else f"{figure.shows:.3f}"
    sides = interval(figure.before), interval(figure.after)
    return figure.benchmark, name, *sides, counted(score), change, p, shows
