"""Training with TRL in this process, behind ``ports.Tuner``: LoRA or all weights, loss on the responses only.

Rows are turned into tokens by the same code that the engines read prompts with, so that a policy is trained on just
what it will see; each response ends on an end token, so that the policy learns to stop. On one CPU thread the same
arguments give byte-equal files.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Self

from charter.models.tuners.training_job import TrainingJob, run_to_model_ref, train_within_memory
from charter.models.tuners.tuner_options import TuneOptions, describe_options
from charter.ports import Rewarder
from charter.records.model_refs import ModelRef
from charter.records.record import canonical
from charter.records.training_rows import TrainingRow


class LocalTuner:
    """Trains what its options say: a policy from lessons, preferences, rated answers or the worth of its own answers;
    a reward model from preferences.

    A LoRA policy goes on from ``start.adapter`` where that is set and has the same shape; a full one starts from the
    weights with the adapter merged in, or from the earlier checkpoint."""

    def __init__(self, options: TuneOptions) -> None:
        self.options = options

    @property
    def identity(self) -> str:
        """Kind and hyperparameters, as canonical JSON."""
        return canonical(describe_options(self.options))

    def with_lr_scale(self, share: float) -> Self:
        """The same with this share of the learning rate."""
        other = copy(self)
        other.options = self.options.model_copy(update={"lr": self.options.lr * share})
        return other

    def tune(
        self,
        start: ModelRef,
        rows: Sequence[TrainingRow],
        directory: Path,
        seed: int,
        reference: ModelRef | None = None,
        reward: ModelRef | Rewarder | None = None,
    ) -> ModelRef:
        """Trains on ``rows`` and writes adapter or checkpoint into ``directory``, which must be empty. ``reference``:
        what the policy is held to (None: its start); ``reward``: what its own answers are worth, where it draws any."""
        learnt, rewarder = (reward, None) if isinstance(reward, ModelRef) else (None, reward)
        given = {"start": start, "rows": tuple(rows), "seed": seed, "options": self.options}
        work = TrainingJob(**given, reference=reference, reward=learnt)
        return run_to_model_ref(work, directory, lambda: train_within_memory(work, directory, rewarder))
