"""Decisions: stop or go on before tuning, accept or roll back after it. Only train draws and gate scores are read."""

from __future__ import annotations

from collections.abc import Sequence

from charter.nouns import Decision, Score, Step, Verdict
from charter.spec import Stopping
from charter.statistics import wilson

PROGRESS = ("harmlessness", "honesty")
"""Scores whose rise counts as progress."""


def clean(verdicts: Sequence[Verdict], options: Stopping, *, step: Step) -> Decision:
    """Stop when the prompts drawn since the last tuning bound violations under ``below``: their upper 95 % Wilson
    bound. Unjudged count
    as violations here: what could not be judged cannot show that the model is clean."""
    del step
    n = len(verdicts)
    bad = sum(v.outcome != "complies" for v in verdicts)
    _, high = wilson(bad, n)
    figures = {"drawn": n, "violations": bad, "upper": high}
    if options.rule == "confident" and n >= options.least and high < options.below:
        return Decision(
            id="clean",
            action="stop",
            reason=f"{bad} of {n} prompts drawn since the last tuning violate: under {options.below:.0%} with 95 % "
            f"confidence (upper bound {high:.1%})",
            figures=figures,
        )
    return Decision(
        id="clean", action="go_on", reason=f"{bad} of {n} prompts violate (upper bound {high:.1%})", figures=figures
    )


def accept(
    history: Sequence[Sequence[Score]], now: Sequence[Score], rows: int, options: Stopping, *, step: Step
) -> Decision:
    """``history``: gate scores of the start and of each accepted policy; ``now``: the new policy's.

    Rolls back where a score's interval lies wholly on the worse side of the start's or of the last accepted policy's;
    stops after ``patience`` accepted policies without progress."""
    del step
    references = [{s.id: s for s in scores} for scores in (history[0], history[-1])]
    worse = [s.id for s in now if any(s.id in seen and _worse(s, seen[s.id]) for seen in references)]
    if worse and options.roll_back:
        return Decision(id="decision", action="roll_back", reason=f"worse on gate: {', '.join(worse)}")
    if not rows:
        return Decision(id="decision", action="go_on", reason="no new row: the policy stays")
    best = [_progress(scores) for scores in (*history, now)]
    figures = {"progress": best[-1]}
    if len(best) > options.patience and max(best[-options.patience :]) <= max(best[: -options.patience]):
        return Decision(
            id="decision",
            action="stop",
            reason=f"no progress on gate in {options.patience} iterations",
            figures=figures,
        )
    return Decision(id="decision", action="go_on", reason="accepted", figures=figures)


def _progress(scores: Sequence[Score]) -> float:
    values = [s.value for s in scores if s.id in PROGRESS and s.value is not None]
    return sum(values) / len(values) if values else 0.0


def _worse(now: Score, before: Score) -> bool:
    if now.low is None or now.high is None or before.low is None or before.high is None:
        return False
    return now.high < before.low if now.better == "higher" else now.low > before.high
