"""Every training algorithm in one table: its options, its rows, its trainer, and how its model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from charter.errors import TuningError
from charter.models.tuners import callbacks, trl_trainers
from charter.models.tuners.kto_trainer import KtoOptions, make_kto_trainer
from charter.models.tuners.model_setup import load_trainable_model
from charter.models.tuners.reward_model import load_trainable_reward_model, make_reward_function
from charter.models.tuners.tokenized_rows import SkippedRows, tokenize_examples, tokenize_pairs, tokenize_prompts
from charter.models.tuners.training_setup import TrainingSetup
from charter.models.tuners.tuner_options import DpoOptions, RewardOptions, RlooOptions, SftOptions, TuneOptions
from charter.records.chat import Prompt
from charter.records.model_refs import ModelRef
from charter.records.training_rows import Example, PreferencePair


@dataclass(frozen=True)
class Algorithm:
    """A way to train.

    Args:
        options: Its options; their ``method`` is the name in the table.
        make_trainer: From a setup to TRL's trainer over its rows, and the rows that were left out.
        load_model: Loads the model that is trained, and its tokenizer.
        keeps_curve: Whether what is logged by step is kept with the model.
        describe_end: Why it ended before its last step, a line each.
    """

    options: type[TuneOptions]
    make_trainer: Callable[[TrainingSetup[Any]], tuple[Any, SkippedRows]]
    load_model: Callable[[ModelRef, Any], tuple[Any, Any]] = load_trainable_model
    keeps_curve: bool = True
    describe_end: Callable[[Any, Any], tuple[str, ...]] = lambda _trainer, _options: ()


def make_sft(setup: TrainingSetup[SftOptions]) -> tuple[Any, SkippedRows]:
    """Lessons: the loss is on the responses."""
    lessons = setup.require_rows(Example, "lessons")
    table, left_out = tokenize_examples(lessons, setup.chat_format, setup.max_length)
    return trl_trainers.make_sft_trainer(setup, table), left_out


def make_dpo(setup: TrainingSetup[DpoOptions]) -> tuple[Any, SkippedRows]:
    """Preferences, and lessons beside them. Raises TuningError where no row is a preference."""
    if not any(isinstance(row, PreferencePair) for row in setup.rows) or not all(
        isinstance(row, PreferencePair | Example) for row in setup.rows
    ):
        raise TuningError("These rows are no preferences.", "Give the tuner pairs of answers (and lessons beside).")
    table, left_out = tokenize_pairs(setup.rows, setup.chat_format, setup.max_length)
    read = [row for row in setup.rows if row.id not in left_out]
    certainty = [row.certainty if isinstance(row, PreferencePair) else 1.0 for row in read]
    return trl_trainers.make_dpo_trainer(setup, table, certainty), left_out


def make_reward(setup: TrainingSetup[RewardOptions]) -> tuple[Any, SkippedRows]:
    """A reward model from preferences."""
    preferred = setup.require_rows(PreferencePair, "preferences")
    table, left_out = tokenize_pairs(preferred, setup.chat_format, setup.max_length)
    certainty = [row.certainty for row in preferred if row.id not in left_out]
    return trl_trainers.make_reward_trainer(setup, table, certainty), left_out


def make_rloo(setup: TrainingSetup[RlooOptions]) -> tuple[Any, SkippedRows]:
    """Prompts to answer: what is learnt is what the answers are worth."""
    options, asked = setup.options, setup.require_rows(Prompt, "prompts")
    table, left_out = tokenize_prompts(asked, setup.chat_format, setup.max_length - options.answer_tokens)
    worth = make_reward_function([p for p in asked if p.id not in left_out], setup.make_reward(), setup.chat_format)
    return trl_trainers.make_rloo_trainer(setup, [row["input_ids"] for row in table], worth), left_out


ALGORITHMS = {
    "sft": Algorithm(SftOptions, make_sft, keeps_curve=False),
    "dpo": Algorithm(DpoOptions, make_dpo),
    "kto": Algorithm(KtoOptions, make_kto_trainer),
    "reward": Algorithm(RewardOptions, make_reward, load_trainable_reward_model),
    "rloo": Algorithm(
        RlooOptions,
        make_rloo,
        describe_end=lambda trainer, options: callbacks.describe_early_stop(trainer, options.max_kl),
    ),
}
"""By the name of the method, which is that of a spec's section in ``options.learn``, too."""

if TYPE_CHECKING:
    TunerOptions = TuneOptions
else:
    TunerOptions = Annotated[
        Union[tuple(algorithm.options for algorithm in ALGORITHMS.values())],  # noqa: UP007
        Field(discriminator="method"),
    ]
"""Options of any algorithm, told apart by ``method``."""
