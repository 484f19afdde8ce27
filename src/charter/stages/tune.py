"""Supervised fine-tuning: rows in, policy out."""

from __future__ import annotations

from collections.abc import Sequence

from charter.errors import TuningError
from charter.nouns import Example, ModelRef, Step
from charter.ports import Tuner


def tune(start: ModelRef, rows: Sequence[Example], tuner: Tuner, *, step: Step) -> ModelRef:
    """The policy trained from ``start`` on ``rows``; ``start`` itself where there is nothing to train on."""
    if not rows:
        return start
    if step.directory is None:
        raise TuningError("tuning needs a directory", "Run it through Run.once.")
    return tuner.tune(start, rows, step.directory, step.seed("tune") % 2**31)
