"""The benchmarks that a spec names, for one policy, in a straight line. A part of methods."""

from __future__ import annotations

from collections.abc import Sequence

from charter.methods.bandit_red_teaming import AttackSetup, run_multi_turn
from charter.ports import BenchmarkQuestion, BenchmarkSuite, Engine, Exam, Rendering, Roles, SkippedBenchmark
from charter.records.chat import Exchange, LogLikelihood, Sampling
from charter.records.measurements import Measurement, Metric
from charter.records.model_refs import ModelRef
from charter.run import Steps
from charter.stages.benchmark_items import (
    apply_styles,
    ask_questions,
    break_down_items,
    choose_styled_questions,
    compute_figures,
    gather_answers,
    grade_items,
    probe_capabilities,
    render_first,
    require_gate_benchmarks,
    score_completions,
    select_deciding_metrics,
    skip_benchmarks,
)


def run_benchmarks(
    run: Steps, policy: ModelRef, start: ModelRef, given: BenchmarkSuite | None, answers: Sampling
) -> list[SkippedBenchmark]:
    """Puts every exam to ``policy``. Each leaves ``bench_NAME_...``: exchanges or likelihoods, measurements, scores and
    cells. Gives those that the target cannot take, with the reason."""
    if given is None or not given.exams:
        return []
    needs = sorted({need for exam in given.exams for need in exam.needs})
    with given.open_target(policy) as target:
        bench_abilities = run.once("bench_abilities", probe_capabilities, needs, target)
        same = policy == start
        bench_left_out = run.once("bench_left_out", skip_benchmarks, given.exams, bench_abilities, same)
        lacking = {lack.id for lack in bench_left_out}
        taken = [
            (exam, ask_benchmark(run, exam, target, given, answers)) for exam in given.exams if exam.name not in lacking
        ]
    for exam, (questions, exchanges, likelihoods) in taken:
        name, baseline = f"bench_{exam.name}", list[Exchange]()
        if "baseline" in exam.needs:
            with given.open_target(start) as model:
                baseline = run.map(f"{name}_baseline", ask_questions, questions, model, answers)
        answered = gather_answers(questions, exchanges, likelihoods, baseline)
        measurements = run.map(f"{name}_measurements", grade_items, answered, exam)
        run.once(f"{name}_scores", compute_figures, answered, measurements, exam)
        run.once(f"{name}_cells", break_down_items, questions, measurements, exam)
    return bench_left_out


def measure_gate_benchmarks(
    run: Steps, policy: ModelRef, measured: list[Measurement], roles: Roles, answers: Sampling
) -> tuple[list[Measurement], list[Metric]]:
    """What decides on gate: what the evaluator ``measured``, and what ``policy`` makes of the gate part of the
    benchmarks that have one; and the metrics. Each leaves ``gate_bench_NAME_...``. Raises SpecError where the target
    cannot take one, or where nothing that one finds can decide."""
    given, known = roles.suite, list(roles.benchmark.metrics)
    if given is None or not given.gate_exams:
        return measured, known
    exams = [exam for _, exam in given.gate_exams]
    with given.open_target(policy) as target:
        needs = sorted({need for exam in exams for need in exam.needs})
        gate_bench_abilities = run.once("gate_bench_abilities", probe_capabilities, needs, target)
        require_gate_benchmarks(run.once("gate_bench_left_out", skip_benchmarks, exams, gate_bench_abilities, False))
        taken = [ask_benchmark(run, exam, target, given, answers, "gate_bench_") for exam in exams]
    for (kind, exam), (questions, exchanges, likelihoods) in zip(given.gate_exams, taken, strict=True):
        answered = gather_answers(questions, exchanges, likelihoods)
        measurements = run.map(f"gate_bench_{exam.name}_measurements", grade_items, answered, exam)
        run.once(f"gate_bench_{exam.name}_scores", compute_figures, answered, measurements, exam)
        outcomes, metrics = select_deciding_metrics(measurements, exam, kind)
        measured, known = [*measured, *outcomes], [*known, *metrics]
    return measured, known


def ask_benchmark(
    run: Steps, exam: Exam, target: Engine, given: BenchmarkSuite, answers: Sampling, prefix: str = "bench_"
) -> tuple[Sequence[BenchmarkQuestion], list[Exchange], list[LogLikelihood]]:
    """The exam's questions, in each of its styles, and what the target made of them."""
    name, questions = f"{prefix}{exam.name}", exam.questions()
    if tuple(exam.styles) != ("plain",):
        choices = run.once(f"{name}_choices", choose_styled_questions, questions, exam.styles)
        attacks = {style: attack for style, attack in given.styles.items() if style in exam.styles}
        attempts = run_multi_turn(run, f"{name}_", choices, (), AttackSetup(target, attacks, answers))
        questions = apply_styles(questions, exam.styles, choices, attempts)
    if isinstance(target, Rendering) and target.renders:
        run.once(f"{name}_rendered", render_first, questions, target, answers)
    free = [q for q in questions if q.completion is None]
    weighed = [q for q in questions if q.completion is not None]
    exchanges = run.map(f"{name}_exchanges", ask_questions, free, target, answers) if free else []
    likelihoods = run.map(f"{name}_likelihoods", score_completions, weighed, target) if weighed else []
    return questions, exchanges, likelihoods
