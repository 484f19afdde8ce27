"""What a run could not use: answers that the target failed to give, and rows that were too long to train on."""

from __future__ import annotations

from collections import Counter

from charter.nouns import Exchange, ModelRef, Revision
from charter.reports.costs import TUNING
from charter.reports.reading import Reading
from charter.supervision import Reasoned

_MOST = 80


def failed_answers(reading: Reading) -> dict[str, int]:
    """Answers of the target that failed, by reason, the most frequent first. A prompt counts each time it was asked."""
    reasons: Counter[str] = Counter()
    for step in reading.steps:
        name = step.split("/")[-1]
        found: list[Exchange] = []
        if name.endswith("revisions"):
            found = [revision.exchange for revision in reading.records(step, Revision)]
        elif name == "reasoned":
            found = [reasoned.exchange for reasoned in reading.records(step, Reasoned)]
        elif name.endswith("exchanges") or name == "answers":
            found = reading.records(step, Exchange)
        reasons.update(_reason(exchange) for exchange in found if exchange.stop == "error")
    return dict(reasons.most_common())


def rows_left_out(reading: Reading) -> dict[str, dict[str, str]]:
    """Training rows that were not used, with the reason, by the policy's step; steps without any are left out."""
    found = {policy: ref.left_out for policy, ref in policies(reading).items()}
    return {step: rows for step, rows in found.items() if rows}


def policies(reading: Reading) -> dict[str, ModelRef]:
    """The policies that were trained, by step."""
    refs = {step: reading.records(step, ModelRef) for step in reading.steps if step.endswith(f"/{TUNING}")}
    return {step: found[0] for step, found in refs.items() if found and found[0].adapter == step}


def _reason(exchange: Exchange) -> str:
    return exchange.error.split(":")[0][:_MOST] or "no reason given"
