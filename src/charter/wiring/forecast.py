"""What a run would do at most, before anything is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charter.spec import Spec
from charter.wiring import attacks, learning, ruling
from charter.wiring.assembly import Assembly
from charter.wiring.auditing import Auditing
from charter.wiring.calibrating import Calibrating
from charter.wiring.evaluating import Evaluating
from charter.wiring.instructing import SelfInstructing

_ALONE: dict[str, type[Auditing | Calibrating | Evaluating | SelfInstructing]] = {
    "audit": Auditing,
    "calibrate": Calibrating,
    "evaluate": Evaluating,
    "self_instruct": SelfInstructing,
}
"""Methods whose objects forecast for themselves."""


def dry_run(spec: Spec, written: int = 0) -> Mapping[str, Any]:
    """What a run would do at most: prompts, calls by purpose, tokens to generate. ``written``: prompts that the step
    before writes at most. Nothing is asked and no model loads."""
    if (alone := _ALONE.get(spec.method)) is not None:
        return alone(spec).forecast()
    assembly = Assembly(spec)
    options = spec.options
    train, benchmark = assembly.train, assembly.benchmark(None)
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
    if spec.method in ruling.METHODS:
        return ruling.forecast(assembly, (batch, written), sizes)
    if spec.method == "rlhf":
        return learning.forecast(spec, {"redteam": redteam, "helpful": len(train["helpful"])}, sizes)
    iterations = min(options.stop.iterations, -(-redteam // options.draw.batch))
    clusters = 1 if options.cluster.by == "batch" else max(1, batch // 10)
    attempts = 0 if options.attack.idle else options.attack.batch
    asked = max((options.attack.turns if s == "escalation" else s in attacks.ASKED) for s in options.attack.styles)
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
