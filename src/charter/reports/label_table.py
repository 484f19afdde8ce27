"""The labels of a review queue as one table, for a spreadsheet or a notebook."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from charter.records.reviews import UNSURE, ReviewedItem, ReviewLabel, ReviewQueue
from charter.reports.spreadsheet_text import escape_formula

LABEL_COLUMNS = (
    *("queue", "item", "rater", "role", "label", "outcome", "comment", "corrected", "label_id", "at", "final"),
    *("prompt", "answer_1", "answer_2", "rule", "records"),
)


def labels_to_csv(queue: ReviewQueue, reviewed: Sequence[ReviewedItem]) -> tuple[str, int]:
    """The table with its head, and how many rows it has: one for each label, and one for each settlement, whose role
    is ``adjudicator`` where none was told. ``records``: the records that the item shows, as ``step:id``. A text that a
    spreadsheet would take for a formula begins with an apostrophe."""
    out, count = io.StringIO(), 0
    table = csv.writer(out, lineterminator="\n")
    table.writerow(LABEL_COLUMNS)
    for one in reviewed:
        for said in (*one.labels, *_settlement_label(one)):
            table.writerow(map(escape_formula, _row(queue, one, said)))
            count += 1
    return out.getvalue(), count


def _settlement_label(one: ReviewedItem) -> list[ReviewLabel]:
    found = one.settlement
    if found is None:
        return []
    texts = {"role": found.role or "adjudicator", "comment": found.note}
    return [ReviewLabel(id=found.id, item=found.item, rater=found.by, label=found.label, at=found.at, **texts)]


def _row(queue: ReviewQueue, one: ReviewedItem, said: ReviewLabel) -> list[str]:
    label, item = UNSURE if said.label is None else said.label, one.item
    texts = [answer.text for answer in item.answers]
    prompt = "\n\n".join(message.content for message in item.prompt)
    return [
        *(queue.id, item.id, said.rater, said.role, label, queue.outcomes.get(label, "")),
        *(said.comment, said.corrected, said.id, said.at, one.final.label if one.final else ""),
        *(prompt, *[*texts, "", ""][:2], item.rule.text if item.rule else ""),
        " ".join(f"{answer.step}:{answer.id}" for answer in item.answers) or (item.rule.id if item.rule else ""),
    ]
