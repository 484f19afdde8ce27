"""TRL's trainers, each over rows that are tokens already: with ``stopping`` alone it knows TRL's names."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from charter.models import weights
from charter.models.tuners import callbacks
from charter.models.tuners.isolation import count_processes
from charter.models.tuners.length_order import LengthOrder
from charter.models.tuners.training_setup import TrainingSetup
from charter.models.tuners.tuner_options import DpoOptions, RewardOptions, RlooOptions, SftOptions, TuneOptions
from charter.records.model_refs import TrainLogEntry

TokenTable = list[dict[str, list[int]]]
RewardFunction = Callable[..., list[float | None]]
"""What drawn answers are worth, asked as TRL asks."""

MAX_LOG_POINTS = 60
"""About so many points of a curve are kept."""
_FIGURE_NAMES = {
    "loss": "loss",
    "kl": "kl",
    "reward": "reward",
    "reward_std": "reward spread",
    "frac_reward_zero_std": "groups alike",
    "entropy": "entropy",
    "completions/mean_length": "length",
    "completions/clipped_ratio": "unfinished",
    "logps/chosen": "chosen",
    "logps/rejected": "rejected",
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
    "margin": "margin",
    "accuracy": "accuracy",
}
"""TRL's names of what it logs, and ours."""


def make_sft_trainer(setup: TrainingSetup[SftOptions], table: TokenTable) -> Any:
    """Lessons: rows with ``input_ids`` and ``labels``; no preparation, no reports."""
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    class ByLength(SFTTrainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            lengths = [len(row["input_ids"]) for row in table]
            step = setup.options.batch * setup.options.accumulate * count_processes()
            return LengthOrder(lengths, step, setup.seed, lambda: int(self.state.epoch or 0))

    options = setup.options
    config = SFTConfig(
        **shared_arguments(setup.folder, setup.seed, options),
        num_train_epochs=options.epochs,
        warmup_steps=warmup_steps_for_rows(len(table), options),
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    kind = ByLength if options.row_order == "length" else SFTTrainer
    return prepare_trainer(
        kind(model=setup.model, args=config, train_dataset=to_dataset(table), processing_class=setup.tokenizer)
    )


def make_dpo_trainer(setup: TrainingSetup[DpoOptions], table: TokenTable, certainty: list[float]) -> Any:
    """Preferences, at once: rows with ``prompt_ids``, ``chosen_ids`` and ``rejected_ids``; ``certainty`` of each. TRL's
    columns for log-probabilities known before carry it, and whether a row is a pair."""
    import copy

    from trl.trainer.dpo_config import DPOConfig

    options, model = setup.options, setup.model
    config = DPOConfig(
        **shared_arguments(setup.folder, setup.seed, options),
        num_train_epochs=options.epochs,
        warmup_steps=warmup_steps_for_rows(len(table), options),
        max_length=None,
        beta=options.beta,
        loss_type=["sigmoid", "sft"] if options.sft_weight else ["sigmoid"],
        loss_weights=[1.0, options.sft_weight] if options.sft_weight else [1.0],
    )
    whole = [
        {**row, "ref_chosen_logps": sure, "ref_rejected_logps": float(row["chosen_ids"] != row["rejected_ids"])}
        for row, sure in zip(table, certainty, strict=True)
    ]
    held = copy.deepcopy(model) if options.kind == "full" else None
    given = {"model": model, "ref_model": held, "args": config, "processing_class": setup.tokenizer}
    return prepare_trainer(_soft_dpo_trainer_class()(**given, train_dataset=to_dataset(whole)))


def _soft_dpo_trainer_class() -> Any:
    """TRL's trainer with labels as sure as each row's: its loss is -log s(d), and -c log s(d) - (1 - c) log s(-d) is
    that with (1 - c) d more. What it logs of pairs is of pairs alone, and of no lesson among them."""
    import torch
    from trl.trainer.dpo_trainer import DPOTrainer

    class Soft(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            if not restore_adapter(self.model, Path(resume_from_checkpoint)):
                super()._load_from_checkpoint(resume_from_checkpoint, model)

        def _compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> Any:
            certain, real = inputs.pop("ref_chosen_logps"), inputs.pop("ref_rejected_logps")
            said: list[Any] = []  # log-probabilities of the policy, then of what it is held to
            asked: list[Any] = [self.model] if self.ref_model is None else [self.model, self.ref_model]
            hooks = [m.register_forward_hook(lambda _m, _given, out: said.append(out.log_probs)) for m in asked]
            parent: Any = super()
            try:
                loss = parent._compute_loss(model, inputs, False)
            finally:
                for hook in hooks:
                    hook.remove()
            size = inputs["completion_mask"].shape[1] - 1
            now, before = (tokens[:, -size:].sum(dim=1) for tokens in said)
            better, worse = (now - before).chunk(2)
            loss = loss + ((1 - certain) * self.beta * (better - worse)).mean()
            self._of_pairs(now.detach().chunk(2), (self.beta * (better - worse)).detach(), real)
            return loss

        def _of_pairs(self, now: Any, margins: Any, real: Any) -> None:
            pairs = self.accelerator.gather(real) > 0
            seen = {"logps/chosen": now[0], "logps/rejected": now[1], "rewards/margins": margins}
            seen["rewards/accuracies"] = (margins > 0).float()
            for name, values in seen.items():
                kept = self.accelerator.gather(values)[pairs]
                del self._metrics["train"][name][-1]
                if kept.numel():
                    self._metrics["train"][name].append(torch.mean(kept).item())
                if not self._metrics["train"][name]:
                    del self._metrics["train"][name]

    return Soft


def make_reward_trainer(setup: TrainingSetup[RewardOptions], table: TokenTable, certainty: list[float]) -> Any:
    """A reward model: rows as for ``dpo``; ``certainty`` of each. The loss is Bradley-Terry's, mixed of both directions
    where a pair is not certain. TRL's column of margins carries the certainty."""
    import torch
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.reward_trainer import RewardTrainer

    options = setup.options

    class Soft(RewardTrainer):
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            certain = inputs.pop("margin")
            parent: Any = super()
            _, outputs = parent.compute_loss(model, inputs, True, num_items_in_batch)
            better, worse = torch.chunk(outputs.logits.squeeze(-1), chunks=2)
            sure = torch.nn.functional.logsigmoid
            loss = -(certain * sure(better - worse) + (1 - certain) * sure(worse - better)).mean()
            loss = loss + options.center * torch.mean((better + worse) ** 2)
            return (loss, outputs) if return_outputs else loss

    whole = [
        {
            "chosen_ids": row["prompt_ids"] + row["chosen_ids"],
            "rejected_ids": row["prompt_ids"] + row["rejected_ids"],
            "margin": sure,
        }
        for row, sure in zip(table, certainty, strict=True)
    ]
    config = RewardConfig(
        **shared_arguments(setup.folder, setup.seed, options),
        num_train_epochs=options.epochs,
        warmup_steps=warmup_steps_for_rows(len(table), options),
        max_length=None,
    )
    return prepare_trainer(
        Soft(model=setup.model, args=config, train_dataset=to_dataset(whole), processing_class=setup.tokenizer)
    )


def make_rloo_trainer(setup: TrainingSetup[RlooOptions], questions: list[list[int]], worth: RewardFunction) -> Any:
    """Practice on ``questions`` (token ids), a prompt's place in the list standing for it. The model is held to what it
    is now, and practice ends where it is too far from that."""
    from trl.trainer.rloo_config import RLOOConfig
    from trl.trainer.rloo_trainer import RLOOTrainer

    class OnTokens(RLOOTrainer):
        def _tokenize_prompts(self, prompts: list[str]) -> Any:
            return [questions[int(place)] for place in prompts], None, {}

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            if not restore_adapter(self.model, Path(resume_from_checkpoint)):
                super()._load_from_checkpoint(resume_from_checkpoint, model)

    options, model = setup.options, setup.model
    config = RLOOConfig(
        **shared_arguments(setup.folder, setup.seed, options),
        max_steps=options.steps,
        warmup_steps=_warmup_steps(options.steps, options),
        num_generations=options.group_size,
        max_completion_length=options.answer_tokens,
        temperature=options.temperature,
        beta=options.beta,
        disable_dropout=True,
        shuffle_dataset=False,
    )
    answers = options.steps * options.batch * options.accumulate * count_processes()
    places = _prompt_order(len(questions), answers // options.group_size, setup.seed)
    rows = to_dataset([{"prompt": str(place)} for place in places])
    trainer = OnTokens(
        model=model, reward_funcs=worth, args=config, train_dataset=rows, processing_class=setup.tokenizer
    )
    if trainer.ref_model is not None:  # was loaded from the base's folder, whatever has been merged in since
        trainer.accelerator.unwrap_model(trainer.ref_model).load_state_dict(model.state_dict())
    if options.max_kl is not None:
        trainer.add_callback(callbacks.stop_on_kl(options.max_kl))
    return prepare_trainer(trainer)


def restore_adapter(model: Any, checkpoint: Path) -> bool:
    """Gives a model that is held to a second adapter its own one of a checkpoint: where there are two, the trainer puts
    back the second alone. False where there is only one."""
    if "ref" not in getattr(model, "peft_config", {}):
        return False
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(checkpoint / weights.ADAPTER_WEIGHTS), adapter_name="default")
    return True


def _prompt_order(count: int, wanted: int, seed: int) -> list[int]:
    """The prompts of a whole training in one pass, all of them before any comes again: a trainer that resumes knows
    its place in a pass, but not the draws of the passes before."""
    draw, places = random.Random(seed), list[int]()
    while len(places) < wanted:
        places += draw.sample(range(count), count)
    return places[:wanted]


def read_train_log(trainer: Any) -> tuple[TrainLogEntry, ...]:
    """What was logged, oldest first, also before a resume; what is no number is left out."""
    out = []
    for line in trainer.state.log_history:
        figures = {
            name: round(float(line[key]), 6)
            for key, name in _FIGURE_NAMES.items()
            if isinstance(line.get(key), int | float) and math.isfinite(line[key])
        }
        if figures and "train_runtime" not in line:
            out.append(TrainLogEntry(step=line["step"], figures=figures))
    every = max(1, len(out) // MAX_LOG_POINTS)
    return tuple(seen for number, seen in enumerate(out) if number % every == 0 or seen is out[-1])


def shared_arguments(folder: Path, seed: int, options: TuneOptions) -> dict[str, Any]:
    """What all trainers are told."""
    import torch

    on_cpu = weights.pick_device(options.device) == "cpu"
    return {
        "output_dir": str(folder),
        "use_cpu": on_cpu,
        "bf16": not on_cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
        "per_device_train_batch_size": options.batch,
        "gradient_accumulation_steps": options.accumulate,
        "learning_rate": options.lr,
        "lr_scheduler_type": options.schedule if options.schedule != "constant" else "constant_with_warmup",
        "weight_decay": options.weight_decay,
        "gradient_checkpointing": options.gradient_checkpointing,
        "seed": seed % 2**32,
        "logging_steps": 10 if isinstance(options, SftOptions) else 1,  # means over several would not outlive a kill
        "logging_nan_inf_filter": False,
        "save_strategy": "steps" if options.save_steps else "no",
        "save_steps": options.save_steps or 500,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
    }


def to_dataset(rows: list[Any]) -> Any:
    """Rows as the trainers take them."""
    from datasets import Dataset

    return Dataset.from_list(rows)


def prepare_trainer(trainer: Any) -> Any:
    """The trainer, silent, and ended by a loss that is no number."""
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(callbacks.stop_on_nan())
    return trainer


def warmup_steps_for_rows(count: int, options: TuneOptions) -> int:
    """Optimiser steps of the warm-up for ``count`` rows. The first of them has learning rate 0."""
    each = math.ceil(math.ceil(count / (options.batch * count_processes())) / options.accumulate)
    steps = math.ceil(each * options.epochs)
    return _warmup_steps(steps, options)


def _warmup_steps(steps: int, options: TuneOptions) -> int:
    wanted = options.warmup if options.warmup >= 1 else steps * options.warmup
    return min(math.ceil(wanted), steps - 1)
