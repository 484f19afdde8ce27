"""Audit: has a model drifted from its constitution? Two sides, the baseline and the model, answer one frozen battery.
It aligns nothing and concludes nothing: ``reports/audit_comparison.py`` compares what is measured here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from charter.judging.audit_battery import AuditedModel, Battery, ProbeResult
from charter.judging.judge_requests import judging_digest
from charter.methods.benchmark_evaluation import run_benchmarks
from charter.ports import AnsweredItem, Benchmark, BenchmarkSuite, Engine
from charter.records.measurements import Measurement
from charter.records.model_refs import ModelRef
from charter.records.templates import Templates
from charter.runs import NextStep, Run, Steps
from charter.stages.battery_probes import grade_answers
from charter.stages.benchmark_items import grade_items
from charter.stages.judge import judge as judged
from charter.stages.probe import probe

BASELINE, MODEL = "baseline", "model"
"""The two sides, which are folders of the run."""


@dataclass(frozen=True)
class AuditSide:
    """Who is asked, by the name that the user gave; or what a finished audit ``found`` of it."""

    name: str
    model: ModelRef | None = None
    finished_result: tuple[AuditedModel, Sequence[ProbeResult]] | None = None


@dataclass(frozen=True)
class AuditInputs:
    """Who answers and who judges. ``evaluator``: what measures on held-out, where the battery has its prompts;
    ``suite``: the benchmarks that the spec names, and ``start``, the model that some of them compare with."""

    target: Callable[[ModelRef], AbstractContextManager[Engine]]
    judge: Engine
    evaluator: Benchmark | None
    templates: Templates
    suite: BenchmarkSuite | None = None
    start: ModelRef | None = None


def audit(run: Run, auditors: AuditInputs, battery: Battery, sides: Mapping[str, AuditSide]) -> None:
    """Asks each side the whole battery, or takes over what was answered."""
    for folder, side in sides.items():
        steps = run.steps(folder)
        if side.finished_result is not None:
            steps.record("measured", side.finished_result[0])
            steps.record("results", list(side.finished_result[1]))
        elif side.model is not None:
            measure_side(steps, side, auditors, battery)


def measure_side(steps: Steps, side: AuditSide, auditors: AuditInputs, battery: Battery) -> None:
    """What a side answers, and what each answer is worth. Each name on the left is a file of the run."""
    model, (rubric, judging), texts = side.model, (battery.rubric, battery.judging), auditors.templates
    assert model is not None
    ruled = {p.id: None for p in battery.principle_probes}
    then = NextStep(
        "verdicts", judged, auditors.judge, rubric, texts, judging, to_items=lambda e: [e] if e.id in ruled else []
    )
    with auditors.target(model) as target:
        prompts = [p.prompt for p in battery.probes]
        exchanges = steps.map("exchanges", probe, prompts, target, battery.answer_sampling, then=then)
        measured = AuditedModel(
            name=side.name,
            model=target.identity,
            judge=auditors.judge.identity,
            judging_digest=judging_digest(rubric, texts, judging),
            battery=battery.digest,
        )
    by_id = {e.id: e for e in exchanges}
    verdicts = steps.map_next(then, [by_id[key] for key in ruled])
    evaluator = auditors.evaluator
    evaluator_measurements: Sequence[Measurement] = ()
    if evaluator is not None:
        own = [AnsweredItem.from_exchange(by_id[p.id]) for p in battery.probes_about(evaluator.identity)]
        evaluator_measurements = steps.map("evaluator_measurements", grade_items, own, evaluator)
    run_benchmarks(steps, model, auditors.start or model, auditors.suite, battery.answer_sampling)
    steps.record("measured", measured)
    steps.once(
        "results", grade_answers, battery, verdicts, evaluator_measurements, evaluator.metrics if evaluator else ()
    )
