"""Decisions: stop or go on before tuning, accept or roll back after it. Only train draws and gate scores are read."""

from __future__ import annotations

from collections.abc import Sequence

from charter.records.decisions import Decision, GateCheck, Retries
from charter.records.measurements import Score
from charter.records.verdicts import Verdict
from charter.spec import StopSpec
from charter.statistics import drop_copies, wilson

PROGRESS_METRICS = ("harmlessness", "honesty")
"""Scores whose rise counts as progress."""


def should_stop(verdicts: Sequence[Verdict], options: StopSpec) -> Decision:
    """Stop when the prompts drawn since the last tuning bound violations under ``max_violation_rate``, by their upper
    95 % Wilson bound. Unjudged ones count as violations: what could not be judged cannot show that a model is clean."""
    texts = drop_copies(verdicts)
    n = len(texts)
    bad = sum(v.outcome != "complies" for v in texts)
    _, high = wilson(bad, n)
    figures = {"drawn": n, "violations": bad, "upper": high}
    if options.rule == "confident" and n >= options.min_prompts and high < options.max_violation_rate:
        return Decision(
            id="stop",
            action="stop",
            reason=f"{bad} of {n} prompts drawn since the last tuning violate: "
            f"under {options.max_violation_rate:.0%} with 95 % confidence (upper bound {high:.1%})",
            figures=figures,
        )
    return Decision(
        id="stop", action="go_on", reason=f"{bad} of {n} prompts violate (upper bound {high:.1%})", figures=figures
    )


def accept(
    history: Sequence[Sequence[Score]],
    now: Sequence[Score],
    gates: Sequence[GateCheck],
    rows: int,
    patience: int,
    retries: Retries,
) -> Decision:
    """Rolls back where a gate fails, and gives up when that was tried often enough; stops after ``patience`` accepted
    policies without progress.

    Args:
        history: Gate scores of the start and of each accepted policy.
        now: Gate scores of the new policy.
        gates: What the new policy lost.
        rows: How many new rows it was tuned on.
        patience: Accepted policies without progress, after which the run stops.
        retries: How often its rows were rolled back already, and how often they may be.
    """
    figures = {f"{gate.id} {name}": value for gate in gates for name, value in _gate_figures(gate)}
    if retries.roll_back and (failed := [gate.description for gate in gates if not gate.passed]):
        again = retries.used < retries.limit
        ended = f": rolled back {retries.used + 1} times, the last policy stays"
        return Decision(
            id="decision",
            action="roll_back" if again else "give_up",
            reason="; ".join(failed) + ("" if again else ended),
            figures=figures,
        )
    if not rows:
        return Decision(id="decision", action="go_on", reason="no new row: the policy stays", figures=figures)
    best = [_progress_score(scores) for scores in (*history, now)]
    figures["progress"] = best[-1]
    if len(best) > patience and max(best[-patience:]) <= max(best[:-patience]):
        return Decision(
            id="decision",
            action="stop",
            reason=f"no progress on gate in {patience} iterations",
            figures=figures,
        )
    return Decision(id="decision", action="go_on", reason="accepted", figures=figures)


def _gate_figures(gate: GateCheck) -> list[tuple[str, float]]:
    found = {"n": gate.n, "change": gate.change, "bound": gate.bound, "margin": gate.margin}
    return [(name, value) for name, value in found.items() if value is not None]


def _progress_score(scores: Sequence[Score]) -> float:
    values = [s.value for s in scores if s.id in PROGRESS_METRICS and s.value is not None]
    return sum(values) / len(values) if values else 0.0
