"""Scores of a policy, by the evaluator and by the benchmarks that a spec names. A part of methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from charter.methods.bandit_red_teaming import AttackSetup, run_multi_turn
from charter.methods.inputs import Inputs
from charter.ports import AnsweredItem, Benchmark, BenchmarkQuestion, BenchmarkSuite, Engine, Rendering, Roles
from charter.records.chat import Exchange, LogLikelihood, Sampling
from charter.records.measurements import MeasuredSplit, Measurement, Metric, Score, SkippedBenchmark
from charter.records.model_refs import ModelRef
from charter.runs import NextStep, Steps
from charter.stages.benchmark_items import (
    apply_styles,
    ask_questions,
    break_down_items,
    choose_styled_questions,
    compute_scores,
    gather_answers,
    grade_items,
    probe_capabilities,
    render_first,
    require_gate_benchmarks,
    score_completions,
    select_deciding_metrics,
    skip_benchmarks,
)


@dataclass(frozen=True)
class BenchmarkAnswers:
    """A benchmark's questions as they were put to a policy, and what was answered; ``baseline``: by the starting
    model."""

    benchmark: Benchmark
    questions: Sequence[BenchmarkQuestion]
    exchanges: Sequence[Exchange]
    likelihoods: Sequence[LogLikelihood] = ()
    baseline: Sequence[Exchange] = ()


@dataclass(frozen=True)
class BenchmarkResult:
    """What a policy answered, and what the benchmark measured and counted."""

    exchanges: Sequence[Exchange]
    measurements: Sequence[Measurement]
    scores: list[Score]


def score(run: Steps, split: MeasuredSplit, policy: ModelRef, roles: Roles, answers: Sampling) -> BenchmarkResult:
    """The evaluator's scores of a policy on gate or held-out; held-out is broken down by what is known of its prompts,
    for reports."""
    with roles.target(policy) as target:
        given = ask_evaluator(run, split, target, roles, answers)
    return grade_answers(run, split, given, breakdown="heldout_breakdown" if split == "heldout" else "")


def score_start(
    run: Steps, policy: ModelRef, roles: Roles, inputs: Inputs
) -> tuple[list[Score], Sequence[Measurement]]:
    """Scores the policy to begin with on gate, on held-out and on the benchmarks that the spec names. Gives its gate
    scores, and the measurements that later policies are held against."""
    gate = score(run, "gate", policy, roles, inputs.answers)
    measurements, _ = measure_gate_benchmarks(run, policy, gate.measurements, roles, inputs.answers)
    score_heldout(run, policy, roles, inputs)
    return gate.scores, measurements


def score_heldout(run: Steps, policy: ModelRef, roles: Roles, inputs: Inputs) -> None:
    """Scores a policy on held-out and on the benchmarks that the spec names: for the report, no decision reads it."""
    score(run, "heldout", policy, roles, inputs.answers)
    run_benchmarks(run, policy, inputs.start, roles.suite, inputs.answers)


def run_benchmarks(
    run: Steps, policy: ModelRef, start: ModelRef, given: BenchmarkSuite | None, answers: Sampling
) -> list[SkippedBenchmark]:
    """Puts every benchmark that the spec names to ``policy``. Each leaves ``bench_NAME_...``: exchanges or likelihoods,
    measurements, scores and cells. Gives those that the target cannot take, with the reason.

    Args:
        run: Where the steps are kept.
        policy: The model that is measured.
        start: The starting model, which it may be compared with.
        given: The benchmarks; None for none.
        answers: How the model's answers are sampled.
    """
    if given is None or not given.benchmarks:
        return []
    needs = sorted({need for benchmark in given.benchmarks for need in benchmark.needs})
    with given.open_target(policy) as target:
        bench_abilities = run.once("bench_abilities", probe_capabilities, needs, target)
        same = policy == start
        bench_left_out = run.once("bench_left_out", skip_benchmarks, given.benchmarks, bench_abilities, same)
        lacking = {lack.id for lack in bench_left_out}
        taken = [
            ask_benchmark(run, benchmark, target, given, answers)
            for benchmark in given.benchmarks
            if benchmark.name not in lacking
        ]
    for answered in taken:
        name = f"bench_{answered.benchmark.name}"
        if "baseline" in answered.benchmark.needs:
            with given.open_target(start) as model:
                baseline = run.map(f"{name}_baseline", ask_questions, answered.questions, model, answers)
            answered = replace(answered, baseline=baseline)
        grade_answers(run, name, answered, breakdown=f"{name}_cells")
    return bench_left_out


def measure_gate_benchmarks(
    run: Steps, policy: ModelRef, measured: Sequence[Measurement], roles: Roles, answers: Sampling
) -> tuple[Sequence[Measurement], list[Metric]]:
    """What decides on gate: what the evaluator ``measured``, and what ``policy`` makes of the gate part of the
    benchmarks that have one; and the metrics. Each leaves ``gate_bench_NAME_...``. Raises SpecError where the target
    cannot take one, or where nothing that one finds can decide."""
    given, known = roles.suite, list(roles.evaluators["gate"].metrics)
    if given is None or not given.gate_benchmarks:
        return measured, known
    benchmarks = [benchmark for _, benchmark in given.gate_benchmarks]
    with given.open_target(policy) as target:
        needs = sorted({need for benchmark in benchmarks for need in benchmark.needs})
        gate_bench_abilities = run.once("gate_bench_abilities", probe_capabilities, needs, target)
        gate_bench_left_out = run.once("gate_bench_left_out", skip_benchmarks, benchmarks, gate_bench_abilities, False)
        require_gate_benchmarks(gate_bench_left_out)
        taken = [ask_benchmark(run, benchmark, target, given, answers, "gate_bench_") for benchmark in benchmarks]
    for (kind, benchmark), answered in zip(given.gate_benchmarks, taken, strict=True):
        result = grade_answers(run, f"gate_bench_{benchmark.name}", answered)
        outcomes, metrics = select_deciding_metrics(result.measurements, benchmark, kind)
        measured, known = [*measured, *outcomes], [*known, *metrics]
    return measured, known


def ask_evaluator(
    run: Steps, split: MeasuredSplit, target: Engine, roles: Roles, answers: Sampling
) -> BenchmarkAnswers:
    """The evaluator's questions of a split, and the target's answers."""
    evaluator = roles.evaluators[split]
    questions = evaluator.questions()
    grading = NextStep(
        f"{split}_measurements",
        grade_items,
        evaluator,
        to_items=lambda exchange: [AnsweredItem.from_exchange(exchange)],
    )
    exchanges = run.map(f"{split}_exchanges", ask_questions, questions, target, answers, then=grading)
    return BenchmarkAnswers(evaluator, questions, exchanges)


def ask_benchmark(
    run: Steps, benchmark: Benchmark, target: Engine, given: BenchmarkSuite, answers: Sampling, prefix: str = "bench_"
) -> BenchmarkAnswers:
    """The benchmark's questions, in each of its styles, and what the target made of them."""
    name, questions = f"{prefix}{benchmark.name}", benchmark.questions()
    if tuple(benchmark.styles) != ("plain",):
        choices = run.once(f"{name}_choices", choose_styled_questions, questions, benchmark.styles)
        attacks = {style: attack for style, attack in given.styles.items() if style in benchmark.styles}
        attempts = run_multi_turn(run, f"{name}_", choices, (), AttackSetup(target, attacks, answers))
        questions = apply_styles(questions, benchmark.styles, choices, attempts)
    if isinstance(target, Rendering) and target.renders:
        run.once(f"{name}_rendered", render_first, questions, target, answers)
    free = [q for q in questions if q.completion is None]
    weighed = [q for q in questions if q.completion is not None]
    exchanges = run.map(f"{name}_exchanges", ask_questions, free, target, answers) if free else []
    likelihoods = run.map(f"{name}_likelihoods", score_completions, weighed, target) if weighed else []
    return BenchmarkAnswers(benchmark, questions, exchanges, likelihoods)


def grade_answers(run: Steps, name: str, given: BenchmarkAnswers, breakdown: str = "") -> BenchmarkResult:
    """What a benchmark makes of its answers: ``NAME_measurements`` and ``NAME_scores``, and under the name
    ``breakdown`` the shares by group, where that is given."""
    benchmark = given.benchmark
    answered = gather_answers(given.questions, given.exchanges, given.likelihoods, given.baseline)
    measurements = run.map(f"{name}_measurements", grade_items, answered, benchmark)
    if breakdown:
        run.once(breakdown, break_down_items, given.questions, measurements, benchmark)
    scores = run.once(f"{name}_scores", compute_scores, answered, measurements, benchmark)
    return BenchmarkResult(given.exchanges, measurements, scores)
