"""What a trainer is made of: the loaded model, the job's rows, and where checkpoints go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from charter.errors import TuningError
from charter.models.chat_format import ChatFormat
from charter.models.tuners.tuner_options import TuneOptions
from charter.ports import Rewarder
from charter.records.chat import Prompt
from charter.records.model_refs import ModelRef
from charter.records.training_rows import Example, PreferencePair, RatedAnswer, TrainingRow

O = TypeVar("O", bound=TuneOptions)  # noqa: E741
R = TypeVar("R", Example, PreferencePair, RatedAnswer, Prompt)


@dataclass(frozen=True)
class TrainingSetup(Generic[O]):
    """One training, ready to be handed to a trainer.

    Args:
        options: The algorithm's options.
        rows: What is learnt from, in order.
        seed: Decides every draw.
        model: The loaded model.
        tokenizer: Its tokenizer.
        chat_format: How the model reads and ends a conversation.
        max_length: Most tokens of a row.
        folder: Where checkpoints go.
        reward: A reward model, for what learns from the worth of its own answers.
        rewarder: What rewards in this process, in its place.
    """

    options: O
    rows: tuple[TrainingRow, ...]
    seed: int
    model: Any
    tokenizer: Any
    chat_format: ChatFormat
    max_length: int
    folder: Path
    reward: ModelRef | None = None
    rewarder: Rewarder | None = None

    def require_rows(self, kind: type[R], name: str) -> list[R]:
        """The rows. Raises TuningError where not all of them are of the kind; ``name`` says what they should be."""
        found: list[R] = [row for row in self.rows if isinstance(row, kind)]
        if len(found) < len(self.rows):
            raise TuningError(f"Not all of these rows are {name}.", "Give the tuner rows of its own kind.")
        return found

    def make_reward(self) -> Rewarder:
        """What rewards. Raises TuningError where there is neither a rewarder nor a reward model."""
        from charter.models.tuners.reward_model import RewardModel

        if self.rewarder is not None:
            return self.rewarder
        if self.reward is None:
            raise TuningError(
                "Nothing says what answers are worth.", "Give a reward model, or a judge in this process."
            )
        return RewardModel(self.reward, self.options)
