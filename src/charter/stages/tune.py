"""Supervised fine-tuning: rows in, policy out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from charter.errors import TuningError
from charter.ports import SupportsLRScale, Tuner
from charter.records.model_refs import ModelRef
from charter.records.record import Step
from charter.records.training_rows import Example
from charter.spec import TrainingSpec


def tune(
    start: ModelRef,
    previous: ModelRef,
    rows: Sequence[Example],
    tuner: Tuner,
    options: TrainingSpec,
    share: float = 1.0,
    *,
    step: Step,
) -> ModelRef:
    """The policy trained on ``rows`` from the starting model, or from the previous policy where ``options.start``
    says so;
    the previous policy itself where there is nothing to train on. ``share`` of the learning rate is used, where the
    tuner can take smaller steps. What is returned names its files relative to the run."""
    if not rows:
        return previous
    if step.directory is None:
        raise TuningError("tuning needs a directory", "Run it through Run.once.")
    root = step.directory.parents[len(Path(step.path).parts) - 1]
    base = (start if options.start == "start" else previous).at_root(root)
    if share != 1 and isinstance(tuner, SupportsLRScale):
        tuner = tuner.with_lr_scale(share)
    policy = tuner.tune(base, rows, step.directory, step.seed("tune") % 2**31)
    return policy.under(step.path)
