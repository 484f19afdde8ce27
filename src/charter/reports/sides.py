"""Methods side by side: the runs of each method, recipe or chain, its seeds together, and every two of them compared on
the prompts that both answered."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean

from charter.errors import StoreError
from charter.nouns import Measurement, Record, Score
from charter.reports.compare import spoken
from charter.reports.links import is_chain, links
from charter.reports.paired import FINAL, START
from charter.reports.reading import Reading
from charter.reports.show import METRICS, summarised
from charter.statistics import Mean, holm, mean
from charter.supervision import Supervision


class Spread(Record):
    """A figure over the seeds of a side: their mean, the smallest and the largest."""

    value: float
    least: float
    most: float
    seeds: int


class Quality(Record):
    """A held-out score before and after, over seeds, and the change with its 95 % interval (bootstrap clustered by
    prompt). ``n``: prompts, ``unjudged`` over all seeds."""

    before: Spread | None
    after: Spread
    change: float | None
    low: float | None
    high: float | None
    n: int
    unjudged: int


class Side(Record):
    """One method: its runs, its quality by metric, and what they took."""

    name: str
    runs: tuple[str, ...]
    finished: int
    quality: dict[str, Quality]
    costs: dict[str, Spread]


class Difference(Record):
    """``second`` minus ``first`` on the same prompts and seeds: mean with a 95 % interval (bootstrap clustered by
    prompt), ``p`` two-sided and ``p_holm`` corrected over the whole comparison."""

    first: str
    second: str
    metric: str
    value: float
    low: float
    high: float
    p: float
    p_holm: float
    n: int
    seeds: int


class Sides(Record):
    """The whole comparison. ``benchmark``: what measured all of them; ``apart``: sides that were measured otherwise,
    so that they are not compared."""

    sides: tuple[Side, ...]
    differences: tuple[Difference, ...]
    benchmark: str
    apart: tuple[str, ...]


Outcomes = dict[int, dict[str, dict[str, bool]]]
"""By seed, metric and prompt."""


class _Runs:
    """The runs of one side; a chain is read as one run, from the start of its first step to the end of its last."""

    def __init__(self, name: str, directories: Sequence[Path]) -> None:
        self.name, self.directories = name, directories
        self.chains = [[Reading(step) for step in (links(d) if is_chain(d) else [d])] for d in directories]
        if any(not chain for chain in self.chains):
            raise StoreError(f"{name} has a chain that has not begun", "Take it to its end: charter resume")

    def outcomes(self, at: str) -> Outcomes:
        """What happened on held-out at the start or at the end, where it could be judged."""
        out: Outcomes = {}
        for chain in self.chains:
            run = chain[0] if at == START else chain[-1]
            found = out.setdefault(run.spec.seed, {})
            for measured in run.records(f"{at}_measurements", Measurement):
                for metric, seen in measured.outcomes.items():
                    if seen is not None:
                        found.setdefault(metric, {})[measured.id] = seen
        return out

    def scores(self, at: str) -> list[dict[str, Score]]:
        """Held-out scores of each run that has them."""
        found = [(chain[0] if at == START else chain[-1]).scores(f"{at}_scores") for chain in self.chains]
        return [scores for scores in found if scores]

    @property
    def versions(self) -> frozenset[str]:
        """What measured its ends."""
        return frozenset(score.benchmark for scores in self.scores(FINAL) for score in scores.values())

    def side(self) -> Side:
        """Its figures."""
        before, after = self.scores(START), self.scores(FINAL)
        began, ended = self.outcomes(START), self.outcomes(FINAL)
        quality = {}
        for metric in METRICS:
            values = [s[metric].value for s in after if metric in s]
            if last := spread([v for v in values if v is not None]):
                first = spread([v for s in before if metric in s and (v := s[metric].value) is not None])
                changed = _change(began, ended, metric)
                quality[metric] = Quality(
                    before=first,
                    after=last,
                    change=changed.value if changed else None,
                    low=changed.low if changed else None,
                    high=changed.high if changed else None,
                    n=max(s[metric].n for s in after if metric in s),
                    unjudged=sum(s[metric].unjudged for s in after if metric in s),
                )
        return Side(
            name=self.name,
            runs=tuple(str(d) for d in self.directories),
            finished=sum(chain[-1].head is not None for chain in self.chains),
            quality=quality,
            costs=self._costs(),
        )

    def _costs(self) -> dict[str, Spread]:
        taken: dict[str, list[float]] = {}
        for chain in self.chains:
            steps = [summarised(run) for run in chain]
            figures = {
                "oracle calls, aligning": sum(s.oracle["calls"] for s in steps),
                "oracle calls, measuring": sum(s.oracle["calls_measuring"] for s in steps),
                "oracle tokens": sum(s.oracle["tokens_in"] + s.oracle["tokens_out"] for s in steps),
                "seconds of work": sum(s.seconds for s in steps),
                "lines that people wrote": sum(told.lines for run in chain for told in written(run)),
            }
            for name, value in figures.items():
                taken.setdefault(name, []).append(float(value))
        return {name: made for name, values in taken.items() if (made := spread(values)) is not None}


def sides(named: Sequence[tuple[str, Sequence[Path]]]) -> Sides:
    """Each side is a name and the folders of its runs, one a seed. Raises StoreError, DamagedError, SpecError."""
    runs = [_Runs(name, directories) for name, directories in named]
    counted = [r.versions for r in runs]
    common = max(counted, key=counted.count) if counted else frozenset()
    alike = [r for r in runs if r.versions == common]
    found: list[tuple[str, str, str, Mean, int, int]] = []
    ends = {r.name: r.outcomes(FINAL) for r in alike}
    for first, second in combinations(ends, 2):
        for metric in METRICS:
            if made := _change(ends[first], ends[second], metric):
                seeds = len(set(ends[first]) & set(ends[second]))
                found.append((first, second, metric, made, made.clusters, seeds))
    corrected = holm([made.p for _, _, _, made, _, _ in found])
    return Sides(
        sides=tuple(r.side() for r in runs),
        differences=tuple(
            Difference(
                first=first, second=second, metric=metric, n=n, seeds=seeds,
                value=made.value, low=made.low, high=made.high, p=made.p, p_holm=p,
            )
            for (first, second, metric, made, n, seeds), p in zip(found, corrected, strict=True)
        ),
        benchmark=", ".join(sorted(common)),
        apart=tuple(r.name for r in runs if r.versions != common),
    )  # fmt: skip


def written(run: Reading) -> list[Supervision]:
    """What people wrote for a run: nothing where its method asks for nothing."""
    steps = [step for step in run.steps if step.endswith("/supervision")]
    return [told for step in steps for told in run.records(step, Supervision)]


def table(found: Sides) -> list[tuple[str, ...]]:
    """Header, then a row for each figure and a column for each side."""
    rows: list[tuple[str, ...]] = [("", *(side.name for side in found.sides))]
    rows.append(("runs, finished", *(f"{len(s.runs)}, {s.finished}" for s in found.sides)))
    for metric in METRICS:
        told = [s.quality.get(metric) for s in found.sides]
        if any(told):
            arrow = " ↓" if metric.startswith("over_refusal") else ""
            rows.append((f"{spoken(metric)}{arrow}, before", *(_share(q.before if q else None) for q in told)))
            rows.append((f"{spoken(metric)}{arrow}, after", *(_share(q.after if q else None) for q in told)))
            rows.append((f"{spoken(metric)}{arrow}, change", *(_points(q) for q in told)))
    for cost in list(dict.fromkeys(name for s in found.sides for name in s.costs)):
        rows.append((cost, *(_count(s.costs.get(cost)) for s in found.sides)))
    return rows


def difference_rows(found: Sides) -> list[tuple[str, ...]]:
    """Header, then a row for each two sides and metric."""
    head = ("second less first", "metric", "points (95 %)", "n", "seeds", "p", "p, Holm")
    rows: list[tuple[str, ...]] = [head]
    for d in found.differences:
        points = f"{100 * d.value:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})"
        pair, chances = f"{d.second} - {d.first}", (f"{d.p:.3g}", f"{d.p_holm:.3g}")
        rows.append((pair, spoken(d.metric), points, str(d.n), str(d.seeds), *chances))
    return rows


def page(found: Sides) -> str:
    """The comparison as one HTML file that needs no network and runs no script."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    jinja = Environment(
        loader=PackageLoader("charter.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    jinja.filters["spoken"] = spoken
    drawn = [m for m in METRICS if any(m in s.quality for s in found.sides)]
    told = {"found": found, "table": table(found), "differences": difference_rows(found), "metrics": drawn}
    return jinja.get_template("sides.html.j2").render(told)


def _share(found: Spread | None) -> str:
    if found is None:
        return "-"
    if found.seeds == 1 or found.least == found.most:
        return f"{found.value:.1%}"
    return f"{found.value:.1%} ({found.least:.1%} to {found.most:.1%})"


def _points(found: Quality | None) -> str:
    if found is None or found.change is None or found.low is None or found.high is None:
        return "-"
    return f"{100 * found.change:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def _count(found: Spread | None) -> str:
    if found is None:
        return "-"
    return f"{found.value:,.0f}" + ("" if found.least == found.most else f" ({found.least:,.0f} to {found.most:,.0f})")


def spread(values: Sequence[float]) -> Spread | None:
    """Mean, smallest and largest; None of nothing."""
    return Spread(value=fmean(values), least=min(values), most=max(values), seeds=len(values)) if values else None


def _change(first: Outcomes, second: Outcomes, metric: str) -> Mean | None:
    values, prompts = [], []
    for seed in sorted(set(first) & set(second)):
        one, other = first[seed].get(metric, {}), second[seed].get(metric, {})
        for prompt in sorted(set(one) & set(other)):
            values.append(float(other[prompt]) - float(one[prompt]))
            prompts.append(prompt)
    return mean(values, prompts, draws=1_999)
