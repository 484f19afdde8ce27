"""What came of a review: how far the raters agree, what is to be adjudicated, and what each item is in the end."""

from __future__ import annotations

from pathlib import Path

from charter.jobs.review_desk import ReviewDesk
from charter.records.record import Record
from charter.records.reviews import QueueProgress, RaterAgreement, ReviewLabel
from charter.statistics import measure_agreement


class DisputedItem(Record):
    """An item to be adjudicated, with what its raters say. The labels are shown only once all of them are in."""

    item: str
    labels: tuple[ReviewLabel, ...]


class AgreementReport(Record):
    """How far the raters of a queue agree. ``changed``: labels that their raters changed; the last ones count."""

    progress: QueueProgress
    agreement: RaterAgreement
    changed: int
    disputed: tuple[DisputedItem, ...]


def report_agreement(directory: Path, queue: str) -> AgreementReport:
    """How far the raters of a queue agree so far, and what is to be adjudicated. Raises StoreError, DamagedError."""
    with ReviewDesk(directory, queue) as desk:
        progress, board = desk.measure_progress(), desk.read_board()
        ratings = [{rater: one.label for rater, one in said.items()} for said in board.labels.values()]
        return AgreementReport(
            progress=progress,
            agreement=measure_agreement(ratings, list(desk.queue.menu)),
            changed=board.changed,
            disputed=tuple(
                DisputedItem(item=item, labels=tuple(board.labels[item].values())) for item in board.list_disputed()
            ),
        )
