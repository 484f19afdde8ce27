"""The benchmarks that a spec names, for one policy, in a straight line. A part of methods."""

from __future__ import annotations

from collections.abc import Sequence

from charter.methods.attempts import converse
from charter.nouns import Exchange, LogLikelihood, ModelRef, Sampling
from charter.ports import Engine, Exam, Examiners, LeftOut, Question
from charter.run import Steps
from charter.stages.examine import (
    abilities,
    ask,
    asked_in,
    cells,
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


def put(
    run: Steps, exam: Exam, target: Engine, given: Examiners, answers: Sampling
) -> tuple[Sequence[Question], list[Exchange], list[LogLikelihood]]:
    """The exam's questions, in each of its styles, and what the target made of them."""
    name, questions = f"bench_{exam.name}", exam.questions()
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
