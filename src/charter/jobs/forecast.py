"""What a run would do at most, before anything is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charter.jobs.audit_job import AuditJob
from charter.jobs.calibration_job import CalibrationJob
from charter.jobs.evaluation_job import EvaluationJob
from charter.jobs.self_instruct_job import SelfInstructJob
from charter.spec import Spec
from charter.wiring import attack_styles, learners, principle_methods, role_models
from charter.wiring.components import Components
from charter.wiring.prompt_previews import preview_prompts

_JOBS_BY_METHOD: dict[str, type[AuditJob | CalibrationJob | EvaluationJob | SelfInstructJob]] = {
    "audit": AuditJob,
    "calibrate": CalibrationJob,
    "evaluate": EvaluationJob,
    "self_instruct": SelfInstructJob,
}
"""Methods whose objects forecast for themselves."""


def forecast_run(spec: Spec, written: int = 0) -> Mapping[str, Any]:
    """What a run would do at most: prompts, calls by purpose, tokens to generate. ``written``: prompts that the step
    before writes at most. Nothing is asked and no model loads."""
    if (alone := _JOBS_BY_METHOD.get(spec.method)) is not None:
        return alone(spec).forecast()
    assembly = Components(spec)
    seen = preview_prompts(spec, assembly.start, assembly.sources)
    if spec.constitution not in ("", "world", "none", "shipped"):
        seen |= {"rules": {p.id: p.text for p in principle_methods.load_constitution(assembly).active}}
    if repeated := assembly.prompts.repeated:
        seen |= {"prompts_repeated": repeated}
    if notes := assembly.describe().get("notes"):
        seen |= {"target": "; ".join(notes)}
    return {**_forecast_method(assembly, written), **_forecast_benchmarks(assembly), **seen}


def _forecast_method(assembly: Components, written: int) -> Mapping[str, Any]:
    """What a method would do, but for the benchmarks that the spec names."""
    spec, options = assembly.spec, assembly.spec.options
    train, benchmark = assembly.train, assembly.build_evaluator(None)
    sizes: dict[str, int] = {split: len(benchmark.prompts(split)) for split in ("gate", "heldout")}
    redteam = len(train["redteam"]) + written
    batch = min(options.draw.batch, redteam)
    if spec.method == "red_team":
        return {
            "method": spec.method,
            "start": assembly.start.base,
            "prompts": {"redteam": batch, "heldout": sizes["heldout"]},
            "oracle_calls_at_most": batch,
            "budget_calls": spec.budget.calls,
            "answers_to_generate_at_most": batch + sizes["heldout"],
            "tokens_to_generate_at_most": (batch + sizes["heldout"]) * spec.scale.answer_tokens,
        }
    if spec.method in principle_methods.PRINCIPLE_METHODS:
        return principle_methods.forecast_principles(assembly, (batch, written), sizes)
    if spec.method == "rlhf":
        return learners.forecast_preferences(spec, {"redteam": redteam, "helpful": len(train["helpful"])}, sizes)
    iterations = min(options.stop.iterations, -(-redteam // options.draw.batch))
    clusters = 1 if options.cluster.by == "batch" else max(1, batch // 10)
    attempts = 0 if options.attack.is_idle else options.attack.batch
    asked = max(
        (options.attack.turns if s == "escalation" else s in attack_styles.MODEL_WRITTEN) for s in options.attack.styles
    )
    calls = {
        "verdicts": batch + attempts,
        "attacks": attempts * asked,
        "proposals and merging": clusters + 1,
        "look-alikes": clusters if options.contrast.count else 0,
        "rechecks": batch + attempts,
        "second rubric": batch + attempts if options.keep.verify else 0,
        "replay checks": options.replay.fresh + clusters * options.contrast.count,
    }
    answers = (
        2 * sizes["heldout"] + sizes["gate"] * (iterations + 1) + iterations * (3 * batch + (2 + asked) * attempts)
    )
    return {
        "method": spec.method,
        "start": assembly.start.base,
        "prompts": {"redteam": redteam, "helpful": len(train["helpful"]), **sizes},
        "iterations_at_most": iterations,
        "oracle_calls_at_most_per_iteration": calls,
        "oracle_calls_at_most": iterations * sum(calls.values()),
        "budget_calls": spec.budget.calls,
        "budget": spec.budget.model_dump(exclude={"calls"}),
        "answers_to_generate_at_most": answers,
        "tokens_to_generate_at_most": answers * spec.scale.answer_tokens,
    }


def _forecast_benchmarks(assembly: Components) -> dict[str, Any]:
    """How many questions the benchmarks that the spec names have, and how often they are put and judged at most: those
    of the gate part to the start and to each policy that is tried, the others before and after."""
    spec, exams = assembly.spec, assembly.exams
    if not spec.benchmarks:
        return {}
    judge = role_models.connect_oracle(exams.judge, assembly.world, spec.offline) if exams.judge is not None else None
    put, judged, told = 0, 0, dict[str, dict[str, int]]()
    votes = spec.options.judge.votes * (spec.options.judge.retries + 1)
    parts = [("held-out", 1 if spec.method == "red_team" else 2, exam) for exam in exams.build_benchmarks(judge)]
    if spec.method != "red_team":
        parts += [("gate", 1 + max_candidates(spec), exam) for _, exam in exams.build_gate_parts(judge)]
    for part, times, exam in parts:
        questions, pairwise = exam.questions(), "baseline" in exam.needs
        told.setdefault(exam.name, {})[part] = len(questions)
        turns = sum(spec.options.attack.turns if style == "escalation" else 1 for style in exam.styles)
        put += times * len(questions) * (turns + pairwise)
        if exam.name in exams.judged_names:
            judged += times * len(questions) * len(exam.styles) * votes * (1 + pairwise)
    return {"benchmarks": told, "benchmark_questions_at_most": put, "benchmark_verdicts_at_most": judged}


def max_candidates(spec: Spec) -> int:
    """How many policies a method may hold against its gates."""
    options = spec.options
    if spec.method in principle_methods.PRINCIPLE_METHODS:
        return (options.gates.retries + 1) * (1 + options.self_align.clone)
    if spec.method == "rlhf":
        return options.learn.rloo.rounds if options.learn.algorithm == "rloo" else 1
    return options.stop.iterations
