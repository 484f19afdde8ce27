"""Audit: has a model drifted from its constitution? Two sides, the baseline and the model, answer one frozen battery.
It aligns nothing and concludes nothing: ``reports/audit.py`` compares what is measured here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from charter.battery import Battery, Measured, Result
from charter.judging.records import asked
from charter.methods.exams import examine
from charter.nouns import ModelRef
from charter.ports import Benchmark, Engine, Examiners
from charter.run import Run, Steps
from charter.stages.battery import found, results, took
from charter.stages.evaluate import measure
from charter.stages.judging import judge as judged
from charter.stages.probe import probe
from charter.templates import Templates

BASELINE, MODEL = "baseline", "model"
"""The two sides, which are folders of the run."""


@dataclass(frozen=True)
class Side:
    """Who is asked, by the name that the user gave; or what a finished audit ``found`` of it."""

    name: str
    model: ModelRef | None = None
    found: tuple[Measured, Sequence[Result]] | None = None


@dataclass(frozen=True)
class Auditors:
    """Who answers and who judges; ``benchmarks`` by identity; ``examiners``: the benchmarks that the spec names, and
    ``start``, the model that some of them compare with."""

    target: Callable[[ModelRef], AbstractContextManager[Engine]]
    judge: Engine
    benchmarks: Mapping[str, Benchmark]
    templates: Templates
    examiners: Examiners | None = None
    start: ModelRef | None = None


def audit(run: Run, auditors: Auditors, battery: Battery, sides: Mapping[str, Side]) -> None:
    """Asks each side the whole battery, or takes over what was answered."""
    for folder, side in sides.items():
        steps = run.steps(folder)
        if side.found is not None:
            steps.once("measured", took, side.found[0])
            steps.once("results", found, side.found[1])
        elif side.model is not None:
            answered(steps, side, auditors, battery)


def answered(steps: Steps, side: Side, auditors: Auditors, battery: Battery) -> None:
    """What a side answers, and what each answer is worth. Each name on the left is a file of the run."""
    model, (rubric, judging), texts = side.model, (battery.rubric, battery.judging), auditors.templates
    assert model is not None
    with auditors.target(model) as target:
        exchanges = steps.map("exchanges", probe, [p.prompt for p in battery.probes], target, battery.answers)
        measured = Measured(
            name=side.name,
            model=target.identity,
            judge=auditors.judge.identity,
            asked=asked(rubric, texts, judging),
            battery=battery.digest,
        )
    by_id, ruled = {e.id: e for e in exchanges}, [p.id for p in battery.ruled]
    verdicts = steps.map("verdicts", judged, [by_id[key] for key in ruled], auditors.judge, rubric, texts, judging)
    measurements = []
    for number, (name, benchmark) in enumerate(auditors.benchmarks.items(), 1):
        own = [by_id[p.id] for p in battery.of(name)]
        measurements += steps.map(f"benchmark{number}_measurements", measure, own, benchmark)
    examine(steps, model, auditors.start or model, auditors.examiners, battery.answers)
    metrics = [metric for benchmark in auditors.benchmarks.values() for metric in benchmark.metrics]
    steps.once("measured", took, measured)
    steps.once("results", results, battery, verdicts, measurements, metrics)
