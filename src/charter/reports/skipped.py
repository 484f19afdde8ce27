"""What a run could not use: answers that the target failed to give, and rows that were too long to train on."""

from __future__ import annotations

from collections import Counter

from charter.records.chat import Exchange
from charter.records.model_refs import ModelRef
from charter.records.revisions import ReasonedAnswer, Revision
from charter.reports.costs import TUNING_STEP
from charter.run.reader import RunReader

_MAX_REASON = 80


def count_failed_answers(reading: RunReader) -> dict[str, int]:
    """Answers of the target that failed, by reason, the most frequent first. A prompt counts each time it was asked."""
    reasons: Counter[str] = Counter()
    for step in reading.steps:
        name = step.split("/")[-1]
        found: list[Exchange] = []
        if name.endswith("revisions"):
            found = [revision.exchange for revision in reading.records(step, Revision)]
        elif name == "reasoned":
            found = [reasoned.exchange for reasoned in reading.records(step, ReasonedAnswer)]
        elif name.endswith("exchanges") or name == "answers":
            found = reading.records(step, Exchange)
        reasons.update(_failure_reason(exchange) for exchange in found if exchange.stop == "error")
    return dict(reasons.most_common())


def read_skipped_rows(reading: RunReader) -> dict[str, dict[str, str]]:
    """Training rows that were not used, with the reason, by the policy's step; steps without any are left out."""
    found = {policy: ref.left_out for policy, ref in read_policies(reading).items()}
    return {step: rows for step, rows in found.items() if rows}


def read_policies(reading: RunReader) -> dict[str, ModelRef]:
    """The policies that were trained, by step."""
    refs = {step: reading.records(step, ModelRef) for step in reading.steps if step.endswith(f"/{TUNING_STEP}")}
    return {step: found[0] for step, found in refs.items() if found and found[0].adapter == step}


def _failure_reason(exchange: Exchange) -> str:
    return exchange.error.split(":")[0][:_MAX_REASON] or "no reason given"
