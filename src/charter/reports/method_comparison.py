"""Methods side by side: the runs of each method, recipe or chain, its seeds together, and every two of them compared on
the prompts that both answered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path
from statistics import fmean

from charter.errors import SpecError, StoreError
from charter.records.measurements import Measurement, Score
from charter.records.record import Record
from charter.reports.chain import chain_runs, is_chain
from charter.reports.costs import read_human_lines
from charter.reports.paired_tests import FINAL_STEP, START_STEP
from charter.reports.preference_report import PreferenceReport, read_preference_report
from charter.reports.run_comparison import MIN_FALL, refuse_audits
from charter.reports.run_summary import SHOWN_METRICS, summarise_reading
from charter.runs.reader import RunReader
from charter.statistics import MeanChange, drop_copies, holm, mean_change


class SeedSpread(Record):
    """A figure over the seeds of a side: their mean, the smallest and the largest."""

    value: float
    least: float
    most: float
    seeds: int


class ScoreOverSeeds(Record):
    """A held-out score before and after, over seeds, and the change with its 95 % interval, in which a prompt counts
    once, by its mean over seeds. ``n``: prompts, ``unjudged`` over all seeds."""

    before: SeedSpread | None
    after: SeedSpread
    change: float | None
    low: float | None
    high: float | None
    n: int
    unjudged: int


class MethodSummary(Record):
    """One method: its runs, its quality by metric, what they took, and how far what the guards of preference learning
    watched has moved (a log-probability of chosen answers that ``fell``: in how many runs)."""

    name: str
    runs: tuple[str, ...]
    finished: int
    quality: dict[str, ScoreOverSeeds]
    costs: dict[str, SeedSpread]
    monitored: dict[str, SeedSpread]
    likelihood_falls: int


class MethodDifference(Record):
    """``second`` minus ``first`` on the same prompts and seeds: the mean over prompts, each by its own over seeds,
    with a 95 % interval; ``p`` two-sided (sign-flip test of the mean) and ``p_holm`` corrected over the whole
    comparison."""

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


class MethodComparison(Record):
    """The whole comparison. ``benchmark``: what measured all of them; ``apart``: sides that were measured otherwise,
    so that they are not compared; ``notes``: what else is not the same on all sides, or is missing."""

    sides: tuple[MethodSummary, ...]
    differences: tuple[MethodDifference, ...]
    benchmark: str
    measured_otherwise: tuple[str, ...]
    notes: tuple[str, ...] = ()


MONITORED_FIGURES = ("chosen", "rejected", "margin", "kl", "length", "refusals")
OutcomesBySeed = dict[int, dict[str, dict[str, bool]]]
"""By seed, metric and prompt."""


class _MethodRuns:
    """The runs of one side; a chain is read as one run, from the start of its first step to the end of its last."""

    def __init__(self, name: str, directories: Sequence[Path]) -> None:
        self.name, self.directories = name, directories
        self.chains = [[RunReader(step) for step in (chain_runs(d) if is_chain(d) else [d])] for d in directories]
        if any(not chain for chain in self.chains):
            raise StoreError(f"{name} has a chain that has not begun", "Take it to its end: charter resume")
        self.seeds = [chain[0].spec.seed for chain in self.chains]
        if twice := sorted({seed for seed in self.seeds if self.seeds.count(seed) > 1}):
            raise SpecError(
                f"{name} has more than one run with the seed {twice[0]}",
                cure="A side has one run for each seed; compare the runs as sides of their own.",
            )
        refuse_audits([chain[-1] for chain in self.chains])

    def outcomes(self, at: str) -> OutcomesBySeed:
        """What happened on held-out at the start or at the end, where it could be judged."""
        out: OutcomesBySeed = {}
        for chain in self.chains:
            run = chain[0] if at == START_STEP else chain[-1]
            found = out.setdefault(run.spec.seed, {})
            for measured in drop_copies(run.records(f"{at}_measurements", Measurement)):
                for metric, seen in measured.outcomes.items():
                    if seen is not None:
                        found.setdefault(metric, {})[measured.id] = seen
        return out

    def scores(self, at: str) -> list[dict[str, Score]]:
        """Held-out scores of each run that has them."""
        found = [(chain[0] if at == START_STEP else chain[-1]).scores(f"{at}_scores") for chain in self.chains]
        return [scores for scores in found if scores]

    @property
    def benchmark_versions(self) -> frozenset[str]:
        """What measured its ends; nothing before one of its runs is finished."""
        return frozenset(score.benchmark for scores in self.scores(FINAL_STEP) for score in scores.values())

    @cached_property
    def fixed_terms(self) -> dict[str, str]:
        """What a fair comparison holds fixed, by name."""
        out: dict[str, set[str]] = {}
        for chain in self.chains:
            spec, found = chain[0].spec, chain[0].environment.get("target") or {}
            given = {
                "model": found.get("digest") or spec.target.model,
                "data": spec.prompts.model_dump_json(exclude={"gate"}) + spec.world,
                "judge": (spec.judge or spec.oracle).display_name,
                "evaluator": spec.evaluator if isinstance(spec.evaluator, str) else spec.evaluator.display_name,
            }
            for name, value in given.items():
                out.setdefault(name, set()).add(str(value))
        return {name: " ".join(sorted(values)) for name, values in out.items()}

    def summarise(self) -> MethodSummary:
        """Its figures."""
        before, after = self.scores(START_STEP), self.scores(FINAL_STEP)
        began, ended, watched = self.outcomes(START_STEP), self.outcomes(FINAL_STEP), self._monitor_changes()
        quality = {}
        for metric in SHOWN_METRICS:
            values = [s[metric].value for s in after if metric in s]
            if last := spread_over_seeds([v for v in values if v is not None]):
                first = spread_over_seeds([v for s in before if metric in s and (v := s[metric].value) is not None])
                changed = _change_over_seeds(began, ended, metric)
                quality[metric] = ScoreOverSeeds(
                    before=first,
                    after=last,
                    change=changed.value if changed else None,
                    low=changed.low if changed else None,
                    high=changed.high if changed else None,
                    n=max(s[metric].n for s in after if metric in s),
                    unjudged=sum(s[metric].unjudged for s in after if metric in s),
                )
        return MethodSummary(
            name=self.name,
            runs=tuple(str(d) for d in self.directories),
            finished=sum(chain[-1].head is not None for chain in self.chains),
            quality=quality,
            costs=self._cost_spreads(),
            monitored={
                name: made for name, values in watched.items() if (made := spread_over_seeds(values)) is not None
            },
            likelihood_falls=sum(value < -MIN_FALL for value in watched.get("chosen", ())),
        )

    def _monitor_changes(self) -> dict[str, list[float]]:
        """From the start to the policy that stayed, by figure; of each run the last step that learnt."""
        out: dict[str, list[float]] = {}
        for chain in self.chains:
            steps: list[PreferenceReport] = [
                found for run in chain if (found := read_preference_report(run)) is not None
            ]
            if steps and steps[-1].used != "000":
                for name in MONITORED_FIGURES:
                    one, other = getattr(steps[-1].before, name), getattr(steps[-1].after, name)
                    if one is not None and other is not None:
                        out.setdefault(name, []).append(other - one)
        return out

    def _cost_spreads(self) -> dict[str, SeedSpread]:
        taken: dict[str, list[float]] = {}
        for chain in self.chains:
            steps = [summarise_reading(run) for run in chain]
            figures = {
                "oracle calls, aligning": sum(s.oracle["calls"] for s in steps),
                "oracle calls, measuring": sum(s.oracle["calls_measuring"] for s in steps),
                "oracle tokens": sum(s.oracle["tokens_in"] + s.oracle["tokens_out"] for s in steps),
                "seconds of work": sum(s.seconds for s in steps),
                "lines that people wrote": sum(map(read_human_lines, chain)),
            }
            for name, value in figures.items():
                taken.setdefault(name, []).append(float(value))
        return {name: made for name, values in taken.items() if (made := spread_over_seeds(values)) is not None}


def compare_methods(named: Sequence[tuple[str, Sequence[Path]]]) -> MethodComparison:
    """Each side is a name and the folders of its runs, one a seed. Raises StoreError, DamagedError, SpecError."""
    runs = [_MethodRuns(name, directories) for name, directories in named]
    counted = [r.benchmark_versions for r in runs if r.benchmark_versions]
    common = max(counted, key=counted.count) if counted else frozenset()
    alike = [r for r in runs if r.benchmark_versions == common]
    found: list[tuple[str, str, str, MeanChange, int, int]] = []
    ends = {r.name: r.outcomes(FINAL_STEP) for r in alike}
    for first, second in combinations(ends, 2):
        for metric in SHOWN_METRICS:
            if made := _change_over_seeds(ends[first], ends[second], metric):
                seeds = len(set(ends[first]) & set(ends[second]))
                found.append((first, second, metric, made, made.n, seeds))
    corrected = holm([made.p for _, _, _, made, _, _ in found])
    return MethodComparison(
        sides=tuple(r.summarise() for r in runs),
        differences=tuple(
            MethodDifference(
                first=first, second=second, metric=metric, n=n, seeds=seeds,
                value=made.value, low=made.low, high=made.high, p=made.p, p_holm=p,
            )
            for (first, second, metric, made, n, seeds), p in zip(found, corrected, strict=True)
        ),
        benchmark=", ".join(sorted(common)),
        measured_otherwise=tuple(r.name for r in runs if r.benchmark_versions and r.benchmark_versions != common),
        notes=tuple(_comparison_notes(runs)),
    )  # fmt: skip


def spread_over_seeds(values: Sequence[float]) -> SeedSpread | None:
    """Mean, smallest and largest; None of nothing."""
    return SeedSpread(value=fmean(values), least=min(values), most=max(values), seeds=len(values)) if values else None


def _change_over_seeds(first: OutcomesBySeed, second: OutcomesBySeed, metric: str) -> MeanChange | None:
    by_prompt: dict[str, list[int]] = {}
    for seed in sorted(set(first) & set(second)):
        one, other = first[seed].get(metric, {}), second[seed].get(metric, {})
        for prompt in sorted(set(one) & set(other)):
            by_prompt.setdefault(prompt, []).append(int(other[prompt]) - int(one[prompt]))
    return mean_change([fmean(values) for values in by_prompt.values()])


def _comparison_notes(runs: Sequence[_MethodRuns]) -> list[str]:
    """What a fair comparison would have the same on all sides, and what is missing."""
    notes = []
    for name in ("model", "data", "judge", "evaluator"):
        if len({run.fixed_terms[name] for run in runs}) > 1:
            notes.append(f"not the same {name} on all sides: a difference may be its own")
    for run in runs:
        open_ = sum(chain[-1].head is None for chain in run.chains)
        notes += [f"{run.name}: {open_} of {len(run.chains)} runs are not finished"] if open_ else []
    for one, other in combinations(runs, 2):
        if not set(one.seeds) & set(other.seeds):
            notes.append(f"{one.name} and {other.name} have no seed in common, and are not compared")
    return notes
