"""The benchmarks that a spec names, for one policy, in a straight line. A part of methods."""

from __future__ import annotations

from collections.abc import Sequence

from charter.methods.attempts import converse
from charter.nouns import Exchange, LogLikelihood, Measurement, Metric, ModelRef, Sampling
from charter.ports import Engine, Exam, Examiners, LeftOut, Question, Roles
from charter.run import Steps
from charter.stages.examine import (
    abilities,
    able_to_take,
    ask,
    asked_in,
    cells,
    deciding,
    figures,
    gather,
    grade,
    left_out,
    styled,
    weigh,
)


def examine(run: Steps, policy: ModelRef, start: ModelRef, given: Examiners | None, answers: Sampling) -> list[LeftOut]:
    """Puts every exam to ``policy``. Each leaves ``bench_NAME_...``: exchanges or likelihoods, measurements, scores and
    cells. Gives those that the target cannot take, with the reason."""
    if given is None or not given.exams:
        return []
    needs = sorted({need for exam in given.exams for need in exam.needs})
    with given.target(policy) as target:
        able = run.once("bench_abilities", abilities, needs, target)
        missed = run.once("bench_left_out", left_out, given.exams, able, policy == start)
        lacking = {lack.id for lack in missed}
        taken = [(exam, put(run, exam, target, given, answers)) for exam in given.exams if exam.name not in lacking]
    for exam, (questions, exchanges, likelihoods) in taken:
        name, before = f"bench_{exam.name}", list[Exchange]()
        if "baseline" in exam.needs:
            with given.target(start) as model:
                before = run.map(f"{name}_baseline", ask, questions, model, answers)
        answered = gather(questions, exchanges, likelihoods, before)
        measured = run.map(f"{name}_measurements", grade, answered, exam)
        run.once(f"{name}_scores", figures, answered, measured, exam)
        run.once(f"{name}_cells", cells, questions, measured, exam)
    return missed


def gated(
    run: Steps, policy: ModelRef, measured: list[Measurement], roles: Roles, answers: Sampling
) -> tuple[list[Measurement], list[Metric]]:
    """What decides on gate: what the evaluator ``measured``, and what ``policy`` makes of the gate part of the
    benchmarks that have one; and the metrics. Each leaves ``gate_bench_NAME_...``. Raises SpecError where the target
    cannot take one, or where nothing that one finds can decide."""
    given, known = roles.examiners, list(roles.benchmark.metrics)
    if given is None or not given.gates:
        return measured, known
    exams = [exam for _, exam in given.gates]
    with given.target(policy) as target:
        able = run.once("gate_bench_abilities", abilities, sorted({n for exam in exams for n in exam.needs}), target)
        able_to_take(run.once("gate_bench_left_out", left_out, exams, able, False))
        taken = [put(run, exam, target, given, answers, "gate_bench_") for exam in exams]
    for (kind, exam), (questions, exchanges, likelihoods) in zip(given.gates, taken, strict=True):
        answered = gather(questions, exchanges, likelihoods)
        graded = run.map(f"gate_bench_{exam.name}_measurements", grade, answered, exam)
        run.once(f"gate_bench_{exam.name}_scores", figures, answered, graded, exam)
        outcomes, metrics = deciding(graded, exam, kind)
        measured, known = [*measured, *outcomes], [*known, *metrics]
    return measured, known


def put(
    run: Steps, exam: Exam, target: Engine, given: Examiners, answers: Sampling, prefix: str = "bench_"
) -> tuple[Sequence[Question], list[Exchange], list[LogLikelihood]]:
    """The exam's questions, in each of its styles, and what the target made of them."""
    name, questions = f"{prefix}{exam.name}", exam.questions()
    if tuple(exam.styles) != ("plain",):
        choices = run.once(f"{name}_choices", styled, questions, exam.styles)
        attacks = {style: attack for style, attack in given.styles.items() if style in exam.styles}
        attempts = converse(run, name, (choices, (), target), attacks, answers)
        questions = asked_in(questions, exam.styles, choices, attempts)
    free = [q for q in questions if q.completion is None]
    weighed = [q for q in questions if q.completion is not None]
    exchanges = run.map(f"{name}_exchanges", ask, free, target, answers) if free else []
    likelihoods = run.map(f"{name}_likelihoods", weigh, weighed, target) if weighed else []
    return questions, exchanges, likelihoods
