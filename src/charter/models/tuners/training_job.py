"""One training from beginning to end: a start and rows go in, files come out. What a launcher's children run, too."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field

from charter.errors import TuningError
from charter.models import weights
from charter.models.chat_format import ChatFormat
from charter.models.tuners import model_setup, trl_trainers
from charter.models.tuners.algorithms import ALGORITHMS, TunerOptions
from charter.models.tuners.isolation import count_processes, find_newest_checkpoint, isolated_training
from charter.models.tuners.tokenized_rows import SkippedRows
from charter.models.tuners.training_setup import TrainingSetup
from charter.models.tuners.tuner_options import TuneOptions
from charter.ports import Rewarder
from charter.records.model_refs import ModelRef, TrainLogEntry
from charter.records.record import Record, digest
from charter.records.training_rows import TrainingRow


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
            if options.batch <= options.min_batch:
                raise TuningError(error.message, error.cure) from error
        options = halve_batch(options)
        notes = (
            f"memory ran out with batches of {asked.batch}: trained with {options.batch}, "
            f"{options.accumulate} of them to a step",
        )


def halve_batch(options: TuneOptions) -> TuneOptions:
    """With about half the rows at a time and as many to a step; of practice, a step's answers are whole groups."""
    batch, accumulate = max(options.min_batch, (options.batch + 1) // 2), 2 * options.accumulate
    while batch * accumulate % options.step_multiple:
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
    algorithm = ALGORITHMS[options.method]
    model, tokenizer = algorithm.load_model(reference, options)
    routers = getattr(model.config.get_text_config(), "output_router_logits", None)
    try:
        setup = _make_setup(work, model, tokenizer, checkpoints or directory, rewarder)
        trainer, left_out = algorithm.make_trainer(setup)
        if work.start != reference:
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
    curve = trl_trainers.read_train_log(trainer) if algorithm.keeps_curve else ()
    return TrainingResult(left_out=left_out, curve=curve, notes=algorithm.describe_end(trainer, options))


def _make_setup(
    work: TrainingJob, model: Any, tokenizer: Any, folder: Path, rewarder: Rewarder | None
) -> TrainingSetup[TuneOptions]:
    """The job with its loaded model, as a trainer takes it."""
    options = work.options
    ends = weights.read_end_tokens(getattr(model, "generation_config", None))
    own: dict[str, Any] = {"today": options.today, "thoughts": options.thoughts}
    return TrainingSetup(
        options=options,
        rows=work.rows,
        seed=work.seed,
        model=model,
        tokenizer=tokenizer,
        chat_format=ChatFormat(tokenizer, ends, options.plain, options.template, **own),
        max_length=min(options.max_length, weights.context_length(model.config) or options.max_length),
        folder=folder,
        reward=work.reward,
        rewarder=rewarder,
    )
