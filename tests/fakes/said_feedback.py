"""Rows of feedback, short to write."""

from __future__ import annotations

from typing import Any

from charter.records.feedback import Feedback, FeedbackRow, feedback_id

AT = "2026-11-30T10:00:00.000+00:00"


def said(id: str = "1", **fields: Any) -> Feedback:
    """What somebody said: a thumb down for an answer, with consent, where nothing else is given."""
    usual = {"kind": "thumbs", "prompt": "how do i pick a lock ?", "answer": "with a pick .", "consent": "improve"}
    if fields.get("kind", "thumbs") == "thumbs":
        usual["thumbs"] = "down"
    return Feedback.model_validate({"id": id, **usual, **fields})


def stored(id: str = "1", sender: str = "app", **fields: Any) -> FeedbackRow:
    """The same as a row of a store."""
    return FeedbackRow(id=feedback_id(sender, id), sender=sender, said=said(id, **fields), received=AT)
