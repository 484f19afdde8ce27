"""What a run could not use: rows of its files, answers that the target failed to give, and rows that were too long to
train on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from charter.records.chat import Exchange
from charter.records.model_refs import ModelRef
from charter.records.revisions import ReasonedAnswer, Revision
from charter.records.row_counts import RowCount
from charter.reports.costs import TUNING_STEP
from charter.runs.reader import RunReader

_FAILED = '"stop":"error"'
"""What stands in the line of an answer that failed. In a text its quotes would be escaped."""
_MAX_REASON = 80
_MAX_SHOWN = 50
"""Skipped rows of a file that the page names; the record holds all."""


def count_failed_answers(reading: RunReader) -> dict[str, int]:
    """Answers of the target that failed, by reason, the most frequent first. A prompt counts each time it was asked."""
    reasons: Counter[str] = Counter()
    for step in reading.steps:
        name = step.split("/")[-1]
        found: Iterable[Exchange] = ()
        if name.endswith("revisions"):
            found = (revision.exchange for revision in reading.find_records(step, Revision, _FAILED))
        elif name == "reasoned":
            found = (reasoned.exchange for reasoned in reading.find_records(step, ReasonedAnswer, _FAILED))
        elif name.endswith("exchanges") or name == "answers":
            found = reading.find_records(step, Exchange, _FAILED)
        reasons.update(_failure_reason(exchange) for exchange in found if exchange.stop == "error")
    return dict(reasons.most_common())


def read_row_counts(reading: RunReader) -> Sequence[RowCount]:
    """What was left out of the run's files of prompts, pairs, labelled exchanges and training rows."""
    return reading.records("000/left_out", RowCount)


def tabulate_row_counts(counts: Sequence[RowCount]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """The skipped rows in tables with their heads: by file and reason, then each with its line."""
    if not counts:
        return
    told = [(count, reason, str(n)) for count in counts for reason, n in count.reasons.items()]
    told += [(count, f"{file} is empty", "") for count in counts for file in count.empty]
    told += [(count, f"not read: {file}", "") for count in counts for file in count.unread]
    by_reason = [(count.id, f"{count.used:,} of {count.rows:,}", reason, n) for count, reason, n in told]
    yield "Rows of files that were left out", [("source", "rows used", "reason", "left out"), *by_reason]
    rows = [(row.id, row.reason) for count in counts for row in count.left_out[:_MAX_SHOWN]]
    if rows:
        yield f"Each of these rows, {_MAX_SHOWN} of a source at most", [("row", "reason"), *rows]


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
