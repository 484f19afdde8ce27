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

from charter.nouns import ModelRef, Row, canonical
from charter.ports import Rewarder
from charter.tuners.options import Options, RlooOptions, described
from charter.tuners.training import Work, made, within_memory


class LocalTuner:
    """Trains what its options say: a policy from lessons or preferences, a reward model from preferences.

    A LoRA policy goes on from ``start.adapter`` where that is set and has the same shape; a full one starts from the
    weights with the adapter merged in, or from the earlier checkpoint."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @property
    def identity(self) -> str:
        """Kind and hyperparameters, as canonical JSON."""
        return canonical(described(self.options))

    def gentler(self, share: float) -> Self:
        """The same with this share of the learning rate."""
        other = copy(self)
        other.options = self.options.model_copy(update={"lr": self.options.lr * share})
        return other

    def tune(self, start: ModelRef, rows: Sequence[Row], directory: Path, seed: int) -> ModelRef:
        """Trains on ``rows`` and writes adapter or checkpoint into ``directory``, which must be empty."""
        work = Work(start=start, rows=tuple(rows), seed=seed, options=self.options)
        return made(work, directory, lambda: within_memory(work, directory))


class LocalReinforcer:
    """Makes tuners that practise in this process."""

    def __init__(self, options: RlooOptions) -> None:
        self.options = options

    @property
    def identity(self) -> str:
        """Kind and hyperparameters, as canonical JSON."""
        return canonical(described(self.options))

    def toward(self, reference: ModelRef, reward: ModelRef | Rewarder) -> Practice:
        """A tuner that is held to ``reference``; it goes on from whatever policy it is given as its start."""
        return Practice(self.options, reference, reward)


class Practice(LocalTuner):
    """Trains a policy on prompts: it draws answers to them, and learns from what these are worth."""

    def __init__(self, options: RlooOptions, reference: ModelRef, reward: ModelRef | Rewarder) -> None:
        super().__init__(options)
        self.reference, self.reward = reference, reward

    def tune(self, start: ModelRef, rows: Sequence[Row], directory: Path, seed: int) -> ModelRef:
        """Trains on the prompts ``rows``."""
        learnt = self.reward if isinstance(self.reward, ModelRef) else None
        rewarder = None if isinstance(self.reward, ModelRef) else self.reward
        given = {"start": start, "rows": tuple(rows), "seed": seed, "options": self.options}
        work = Work(**given, reference=self.reference, reward=learnt)
        return made(work, directory, lambda: within_memory(work, directory, rewarder))
