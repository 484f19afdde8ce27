"""One training from beginning to end: a start and rows go in, files come out. What a launcher's children run, too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from charter.errors import TuningError
from charter.models import weights
from charter.models.chat_format import ChatFormat
from charter.models.tuners import callbacks, model_setup, trl_trainers
from charter.models.tuners.isolation import count_processes, find_newest_checkpoint, isolated_training
from charter.models.tuners.reward_model import RewardModel, load_trainable_reward_model, make_reward_function
from charter.models.tuners.tokenized_rows import SkippedRows, tokenize_examples, tokenize_pairs, tokenize_prompts
from charter.models.tuners.tuner_options import DpoOptions, RewardOptions, RlooOptions, SftOptions, TunerOptions
from charter.ports import Rewarder
from charter.records.chat import Prompt
from charter.records.model_refs import ModelRef, TrainLogEntry
from charter.records.record import Record, digest
from charter.records.training_rows import Example, PreferencePair, TrainingRow

R = TypeVar("R", Example, PreferencePair, Prompt)


class TrainingJob(Record):
    """What is to be trained: on it and the code alone the files depend. ``reference`` and ``reward``: for practising,
    what the policy is held to and what its answers are worth (None: whatever is handed to ``train``)."""

    start: ModelRef
    rows: tuple[TrainingRow, ...]
    seed: int
    options: TunerOptions
    reference: ModelRef | None = None
    reward: ModelRef | None = None


class TrainingResult(Record):
    """Rows that were left out, with the reason, and what was watched."""

    left_out: SkippedRows = Field(default_factory=dict)
    curve: tuple[TrainLogEntry, ...] = ()
    notes: tuple[str, ...] = ()


class TrainingMemoryError(TuningError):
    """Training needs more memory than there is."""


def run_to_model_ref(work: TrainingJob, directory: Path, do: Callable[[], TrainingResult]) -> ModelRef:
    """What ``do`` writes into ``directory``, which must be empty, as a reference. Raises TuningError."""
    if not work.rows:
        raise TuningError("There are no rows to train on.", "Probe more prompts, or loosen what is kept.")
    if any(directory.iterdir() if directory.is_dir() else ()):
        raise TuningError(f"{directory} is not empty.", "Give the tuner an empty directory.")
    directory.mkdir(parents=True, exist_ok=True)
    done, start = do(), work.start
    files = weights.file_digests(directory)
    return ModelRef(
        base=start.base,
        base_digest=start.base_digest,
        revision=start.revision,
        adapter=str(directory.resolve()),
        digest=digest({"base": start.base_digest, "files": files}),
        files=files,
        left_out=done.left_out,
        notes=done.notes,
        curve=done.curve,
    )


def train_within_memory(work: TrainingJob, directory: Path, rewarder: Rewarder | None = None) -> TrainingResult:
    """Trains in this process; where memory runs out, anew with batches of half the size and as many rows to a step."""
    asked, options, notes = work.options, work.options, tuple[str, ...]()
    while True:
        try:
            with isolated_training(work.seed):
                done = train(work.model_copy(update={"options": options}), directory, rewarder=rewarder)
                return done.model_copy(update={"notes": (*notes, *done.notes)})
        except TrainingMemoryError as error:
            if options.batch == 1:
                raise TuningError(error.message, error.cure) from error
        options = halve_batch(options)
        notes = (
            f"memory ran out with batches of {asked.batch}: trained with {options.batch}, "
            f"{options.accumulate} of them to a step",
        )


def halve_batch(options: TunerOptions) -> TunerOptions:
    """With about half the rows at a time and as many to a step; of practice, a step's answers are whole groups."""
    batch, accumulate = (options.batch + 1) // 2, 2 * options.accumulate
    group = options.group_size if isinstance(options, RlooOptions) else 1
    while batch * accumulate % group:
        accumulate += 1
    return options.model_copy(update={"batch": batch, "accumulate": accumulate})


def train(
    work: TrainingJob, directory: Path, checkpoints: Path | None = None, rewarder: Rewarder | None = None
) -> TrainingResult:
    """Loads, trains and saves; nothing outlives the call. With a folder for ``checkpoints`` it goes on from the newest
    whole one. Of several processes the first one writes. Raises TuningError."""
    options = work.options if checkpoints else work.options.model_copy(update={"save_steps": 0})
    work = work.model_copy(update={"options": options})
    reference = work.reference or work.start
    if isinstance(options, RewardOptions):
        model, tokenizer = load_trainable_reward_model(work.start, options)
    else:
        model, tokenizer = model_setup.load_trainable_model(reference, options)
    routers = getattr(model.config.get_text_config(), "output_router_logits", None)
    try:
        trainer, left_out = _make_trainer(work, (model, tokenizer), checkpoints or directory, rewarder)
        if isinstance(options, RlooOptions) and work.start != reference:
            model_setup.load_policy_weights(trainer.model, work.start, options)
        earlier = find_newest_checkpoint(checkpoints, count_processes()) if checkpoints else None
        if earlier:
            print(f"charter: goes on from {earlier.name}", flush=True)
        outcome = trainer.train(resume_from_checkpoint=str(earlier) if earlier else None)
    except (RuntimeError, ValueError, IndexError, MemoryError) as error:
        kind = TrainingMemoryError if weights.is_out_of_memory(error) else TuningError
        raise kind(
            f"Training stopped: {(str(error) or type(error).__name__).splitlines()[0][:300]}",
            "Where memory ran out: kind `lora`, `recompute: true`, shorter rows. With several GPUs, show it one.",
        ) from error
    trained = [tensor for tensor in trainer.model.parameters() if tensor.requires_grad]
    if not math.isfinite(outcome.training_loss) or not all(bool(tensor.isfinite().all()) for tensor in trained):
        raise TuningError(
            f"The loss or the weights are no longer numbers (lr {options.lr:g}).", "Use a smaller `lr`, or float32."
        )
    if routers is not None:
        model.config.get_text_config().output_router_logits = routers  # the trainer turns it on for its loss
    model_setup.save_policy(trainer, tokenizer, directory, work.start, options)
    curve = () if isinstance(options, SftOptions) else trl_trainers.read_train_log(trainer)
    notes = callbacks.describe_early_stop(trainer, options.max_kl) if isinstance(options, RlooOptions) else ()
    return TrainingResult(left_out=left_out, curve=curve, notes=notes)


def _make_trainer(
    work: TrainingJob, loaded: tuple[Any, Any], folder: Path, rewarder: Rewarder | None
) -> tuple[Any, SkippedRows]:
    """The trainer for the work's kind over its rows, and the rows that are too long."""
    options, (model, tokenizer) = work.options, loaded
    ends = weights.read_end_tokens(getattr(model, "generation_config", None))
    own: dict[str, Any] = {"today": options.today, "thoughts": options.thoughts}
    dialogue = ChatFormat(tokenizer, ends, options.plain, options.template, **own)
    longest = min(options.max_length, weights.context_length(model.config) or options.max_length)
    seed = work.seed
    if isinstance(options, SftOptions):
        table, left_out = tokenize_examples(_require_rows(work.rows, Example), dialogue, longest)
        return trl_trainers.make_sft_trainer(loaded, table, folder, seed, options), left_out
    if isinstance(options, RlooOptions):
        asked = _require_rows(work.rows, Prompt)
        table, left_out = tokenize_prompts(asked, dialogue, longest - options.answer_tokens)
        kept = [p for p in asked if p.id not in left_out]
        worth = rewarder or RewardModel(_require_reward_model(work.reward), options)
        questions = [row["input_ids"] for row in table]
        return trl_trainers.make_rloo_trainer(
            loaded, questions, make_reward_function(kept, worth, dialogue), (folder, seed, options)
        ), left_out
    if isinstance(options, DpoOptions):
        if not any(isinstance(row, PreferencePair) for row in work.rows) or any(
            isinstance(row, Prompt) for row in work.rows
        ):
            raise TuningError("These rows are no preferences.", "Give the tuner pairs of answers (and lessons beside).")
        table, left_out = tokenize_pairs(work.rows, dialogue, longest)
        read = [row for row in work.rows if row.id not in left_out]
        certainty = [row.certainty if isinstance(row, PreferencePair) else 1.0 for row in read]
        return trl_trainers.make_dpo_trainer(loaded, table, certainty, (folder, seed, options)), left_out
    preferred = _require_rows(work.rows, PreferencePair)
    table, left_out = tokenize_pairs(preferred, dialogue, longest)
    certainty = [row.certainty for row in preferred if row.id not in left_out]
    return trl_trainers.make_reward_trainer(loaded, table, certainty, (folder, seed, options)), left_out


def _require_rows(given: Sequence[TrainingRow], kind: type[R]) -> list[R]:
    found = [row for row in given if isinstance(row, kind)]
    if len(found) < len(given):
        wanted = {Example: "lessons", PreferencePair: "preferences", Prompt: "prompts"}[kind]
        raise TuningError(f"Not all of these rows are {wanted}.", "Give the tuner rows of its own kind.")
    return found


def _require_reward_model(reward: ModelRef | None) -> ModelRef:
    if reward is None:
        raise TuningError("Nothing says what answers are worth.", "Give a reward model, or a judge in this process.")
    return reward
