"""KTO: learning from answers that are each good or bad by themselves (Ethayarajh et al. 2024, arXiv 2402.01306)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from charter.errors import TuningError
from charter.models.tuners.tokenized_rows import SkippedRows, tokenize_rated_answers
from charter.models.tuners.training_setup import TrainingSetup
from charter.models.tuners.trl_trainers import (
    prepare_trainer,
    restore_adapter,
    shared_arguments,
    to_dataset,
    warmup_steps_for_rows,
)
from charter.models.tuners.tuner_options import TuneOptions
from charter.records.training_rows import REPLAY, RatedAnswer


class KtoOptions(TuneOptions):
    """Kahneman-Tversky optimisation: each answer is learnt as good or as bad, against what the policy is held to."""

    min_batch: ClassVar[int] = 2
    """The divergence is estimated over the answers of other prompts in the batch, so one answer alone has none."""
    method: Literal["kto"] = "kto"
    beta: float = Field(default=0.1, gt=0)
    """How far the policy is held to the starting model."""
    desirable_weight: float = Field(default=1.0, gt=0)
    """Weight of good answers: lambda_D of the paper."""
    undesirable_weight: float | None = Field(default=None, gt=0)
    """Weight of bad answers: lambda_U of the paper. None: the rated answers, good and bad, weigh the same in all."""


def make_kto_trainer(setup: TrainingSetup[KtoOptions]) -> tuple[Any, SkippedRows]:
    """The trainer over rated answers, and the rows that are too long. Raises TuningError where all are of one kind."""
    from trl.trainer.kto_config import KTOConfig

    options, answers = setup.options, setup.require_rows(RatedAnswer, "rated answers")
    table, left_out = tokenize_rated_answers(answers, setup.chat_format, setup.max_length)
    read = [row for row in answers if row.id not in left_out]
    config = KTOConfig(
        **shared_arguments(setup.folder, setup.seed, options),
        num_train_epochs=options.epochs,
        warmup_steps=warmup_steps_for_rows(len(table), options),
        max_length=None,
        beta=options.beta,
        desirable_weight=options.desirable_weight,
        undesirable_weight=balance_weight(read, options),
    )
    rows = add_mismatched_answers(
        [{**row, "label": answer.good} for row, answer in zip(table, read, strict=True)], options.batch
    )
    reference = copy.deepcopy(setup.model) if options.kind == "full" else None
    trainer = _token_kto_trainer_class()(
        model=setup.model,
        ref_model=reference,
        args=config,
        train_dataset=to_dataset(rows),
        processing_class=setup.tokenizer,
    )
    return prepare_trainer(trainer), left_out


def balance_weight(answers: Sequence[RatedAnswer], options: KtoOptions) -> float:
    """The weight of bad answers. Where the options give none, it makes lambda_D n_D = lambda_U n_U, the lower end of
    what the paper allows (equation 8). Replayed answers hold the policy where it is; they are not counted, unless no
    other answer is good. Raises TuningError where there is no good answer, or no bad one."""
    bad = sum(not row.good for row in answers)
    all_good = len(answers) - bad
    rated = sum(row.good for row in answers if row.rater != REPLAY)
    if not all_good or not bad:
        raise TuningError(
            f"KTO needs good and bad answers; there are {all_good} good and {bad} bad ones.",
            "Compare or judge more prompts, at a higher temperature.",
        )
    return options.undesirable_weight or options.desirable_weight * (rated or all_good) / bad


def add_mismatched_answers(rows: Sequence[dict[str, Any]], batch: int) -> list[dict[str, Any]]:
    """Beside each row's answer that of the row before it in its batch (of the batch's first row: the last one), over
    which the divergence is estimated (paper, section 4.1). A batch of one row borrows from the batch before."""
    out = []
    for number, row in enumerate(rows):
        start = number - number % batch
        other = number - 1 if number > start else min(start + batch, len(rows)) - 1
        if other == number and number:
            other = number - 1
        out.append({**row, "KL_completion_ids": rows[other]["completion_ids"]})
    return out


def _token_kto_trainer_class() -> Any:
    """TRL's trainer over rows that are tokens already."""
    from trl.trainer.kto_trainer import KTOTrainer

    class OnTokens(KTOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            if not restore_adapter(self.model, Path(resume_from_checkpoint)):
                super()._load_from_checkpoint(resume_from_checkpoint, model)

    return OnTokens
