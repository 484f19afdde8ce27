"""What is trained, and how: the options of each kind of training."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from charter.models import weights
from charter.models.chat_format import Thoughts
from charter.records.record import Record


class TuneOptions(Record):
    """What is trained, and how, whatever it learns from. Learning rates depend on the model's size: 1e-4 suits LoRA on
    billions of parameters, 1e-3 and more the tiny models."""

    min_batch: ClassVar[int] = 1
    """Fewest rows that a batch may have."""
    method: str
    """The algorithm's name in the table of algorithms."""
    kind: Literal["lora", "full"] = "lora"
    lr: float = Field(default=1e-4, gt=0, allow_inf_nan=False)
    epochs: float = Field(default=3, gt=0)
    batch: int = Field(default=8, ge=1)
    accumulate: int = Field(default=1, ge=1)
    """Batches per optimiser step."""
    max_length: int = Field(default=2048, ge=2)
    """Most tokens of prompt and response together; a longer row is left out and named, never cut."""
    warmup: float = Field(default=0.03, ge=0, allow_inf_nan=False)
    """Share of the steps, or from 1 on their number, rounded up, while the learning rate rises from 0; at least one
    step is left to learn in."""
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    r: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: Literal["auto"] | tuple[str, ...] = "auto"
    """Layers (or fused weights, such as ``experts.down_proj``) that LoRA adapts, by the end of their names; auto: every
    linear layer but the output, and what stands for them in a mixture of experts: its experts and its router."""
    device: str = "auto"
    dtype: weights.Dtype = "auto"
    """Precision of the weights. auto: float32 on a CPU and for full tuning, else the checkpoint's own."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: slower, with less memory."""
    plain: bool = False
    """Raw text without the chat template; must be as the engine's."""
    template: dict[str, bool | int | str] = Field(default_factory=dict)
    """Arguments for the chat template; must be as the engine's."""
    today: str = Field("", exclude_if=lambda today: not today)
    """The date that the chat template writes; must be as the engine's."""
    thoughts: Thoughts = Field("drop", exclude_if=lambda thoughts: thoughts == "drop")
    """keep: thoughts before responses are learnt too."""
    remote_code: bool = False
    offline: bool = False
    quantize: Literal["none", "4bit"] = "none"
    """4bit: the base's weights in NF4 (QLoRA), for LoRA on CUDA; needs bitsandbytes."""
    save_steps: int = Field(default=0, ge=0)
    """Optimiser steps between checkpoints, where there is a folder for them; decides nothing about the policy."""

    @property
    def step_multiple(self) -> int:
        """The rows of a step are a multiple of this."""
        return 1


class SftOptions(TuneOptions):
    """Supervised fine-tuning: the loss is on the responses."""

    method: Literal["sft"] = "sft"
    row_order: Literal["random", "length"] = Field("random", exclude_if=lambda order: order == "random")
    """length: rows of a like length share a batch, so that there is less padding."""


class DpoOptions(TuneOptions):
    """Direct preference optimisation (Rafailov et al., arXiv 2305.18290) with an SFT term on the chosen answers (Pang
    et al., arXiv 2404.19733), which keeps their log-probability from falling."""

    method: Literal["dpo"] = "dpo"
    beta: float = Field(default=0.1, gt=0)
    """How far the policy is held to the starting model."""
    sft_weight: float = Field(default=0.2, ge=0)
    """Weight of the SFT term, beside 1 for the preferences."""


class RewardOptions(TuneOptions):
    """A reward model: Bradley-Terry on pairs, soft where a pair is not certain."""

    method: Literal["reward"] = "reward"
    center: float = Field(default=0.01, ge=0)
    """Weight of the square of the rewards' sum, which holds their mean at 0 (Eisenstein et al., arXiv 2312.09244)."""


class RlooOptions(TuneOptions):
    """REINFORCE with a leave-one-out baseline (Ahmadian et al., arXiv 2402.14740). ``batch`` counts answers."""

    method: Literal["rloo"] = "rloo"
    beta: float = Field(default=0.05, ge=0)
    """What a nat of divergence from the reference costs of the reward."""
    steps: int = Field(default=50, ge=1)
    """Optimiser steps; ``epochs`` says nothing here."""
    group_size: int = Field(default=4, ge=2)
    """Answers to each prompt, each one's baseline made of the others."""
    temperature: float = Field(default=1.0, gt=0)
    answer_tokens: int = Field(default=256, ge=1)
    """Most tokens of an answer."""
    max_kl: float | None = Field(default=None, gt=0)
    """Practice ends where the answers drawn for a step are more nats from the reference than this; told only where
    ``beta`` is above 0."""

    @property
    def step_multiple(self) -> int:
        """A step has whole groups."""
        return self.group_size


def describe_options(options: TuneOptions) -> dict[str, object]:
    """Kind and hyperparameters, for an identity: what decides nothing about the policy is left out."""
    return {"tuner": options.method, **options.model_dump(mode="json", exclude={"save_steps", "method"})}
