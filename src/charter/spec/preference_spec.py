"""Learning from preferences: where pairs come from, what learns from them, and what watches over it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from charter.records.record import Record


class PreferenceDataSpec(Record):
    """Where pairs of answers come from, and who prefers one."""

    by: Literal["people", "judge", "model"] = Field(
        "judge",
        description="Who prefers: `people` (files), `judge`, or `model` (the policy, by its log-probabilities).",
    )
    files: tuple[str, ...] = Field(
        (),
        description="Files of pairs that people compared, with a column `rater` where it is known. `run:NAME` lies in "
        "the run's folder.",
    )
    skip: int = Field(0, ge=0, description="Rows of each of `files` that cannot be used and may be left out.")
    prompts: int = Field(300, ge=1, description="Red-team prompts that are answered, and as many helpful ones.")
    draws: int = Field(3, ge=1, description="Answers that are drawn to each prompt.")
    temperature: float = Field(1.0, gt=0, description="Temperature of these draws.")
    pairs_per_prompt: int = Field(2, ge=1, description="The most pairs of a prompt.")
    swapped_answer_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of the benign prompts whose answer is also set against one that was given to an alike "
        "prompt.",
    )
    max_length_ratio: float = Field(
        4.0,
        ge=0,
        description="The most pairs with the longer chosen answer for each with the longer rejected one, and the "
        "other way round. 0: as they come.",
    )


class DpoSpec(Record):
    """Direct preference optimisation (Rafailov et al., arXiv 2305.18290)."""

    learning_rate: float = Field(
        1e-5,
        gt=0,
        description="Peak learning rate. The default fits LoRA on some billion parameters.",
    )
    epochs: float = Field(2.0, gt=0, description="Passes over the pairs.")
    batch: int = Field(8, ge=1, description="Pairs in an optimiser step.")
    beta: float = Field(0.1, gt=0, description="How far the policy is held to its start.")
    sft_weight: float = Field(
        1.0,
        ge=0,
        description="Weight of the SFT term on chosen answers and replay (Pang et al., arXiv 2404.19733).",
    )


class KtoSpec(Record):
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv 2402.01306): each answer is good or bad."""

    rows: Literal["pairs", "verdicts", "people"] = Field(
        "pairs",
        description="`pairs` takes a good and a bad answer from each pair. `verdicts` asks the judge about each answer "
        "by itself. `people` takes answers that people found good or bad, from `files`.",
    )
    files: tuple[str, ...] = Field(
        (),
        description="Files of answers that people found good or bad, with columns `prompt`, `response` and `good`. "
        "`run:NAME` lies in the run's folder.",
    )
    learning_rate: float = Field(
        1e-5,
        gt=0,
        description="Peak learning rate. The default is ten times the 1e-6 of TRL's guide for full training.",
    )
    epochs: float = Field(2.0, gt=0, description="Passes over the answers.")
    batch: int = Field(
        16, ge=2, description="Answers in an optimiser step. The divergence is estimated over a batch, so 2 at least."
    )
    beta: float = Field(0.1, gt=0, description="How far the policy is held to its start.")
    desirable_weight: float = Field(1.0, gt=0, description="Weight of good answers.")
    undesirable_weight: float | None = Field(
        None,
        gt=0,
        description="Weight of bad answers. Null: rated answers, good and bad, weigh the same in all (equation 8).",
    )


class RewardModelSpec(Record):
    """The reward model, a Bradley-Terry model of the pairs."""

    kind: Literal["lora", "full"] = Field(
        "lora",
        description="`full` starts from the policy's weights, `lora` from the base's.",
    )
    learning_rate: float = Field(
        1e-4,
        gt=0,
        description="Peak learning rate. The default fits LoRA on some billion parameters.",
    )
    epochs: float = Field(2.0, gt=0, description="Passes over the pairs.")
    batch: int = Field(16, ge=1, description="Pairs in an optimiser step.")
    center_rewards_coefficient: float = Field(
        0.01,
        ge=0,
        description="Weight of the term that holds rewards around 0 (Eisenstein et al., arXiv 2312.09244).",
    )


class RlooSpec(Record):
    """RLOO: REINFORCE with a leave-one-out baseline (Ahmadian et al., arXiv 2402.14740)."""

    reward: Literal["model", "judge"] = Field(
        "model",
        description="Who rewards answers: the learnt reward `model`, or the `judge` itself.",
    )
    warm_up: int = Field(0, ge=0, description="Chosen answers that SFT with replay learns first. 0: none.")
    rounds: int = Field(3, ge=1, description="Rounds of practice. After each, gate is scored and the guards look.")
    steps: int = Field(40, ge=1, description="Optimiser steps in a round.")
    learning_rate: float = Field(
        1e-5,
        gt=0,
        description="Peak learning rate. The default fits LoRA on some billion parameters.",
    )
    batch: int = Field(64, ge=2, description="Answers in an optimiser step.")
    answers_per_prompt: int = Field(
        4,
        ge=2,
        description="Answers to one prompt. The baseline of each is the mean of the others.",
    )
    beta: float = Field(0.05, ge=0, description="What a nat of divergence from the start costs of the reward.")
    temperature: float = Field(1.0, gt=0, description="Temperature at which practice draws its answers.")


class RLGuardSpec(Record):
    """When learning ends and the last good policy stays."""

    max_kl: float = Field(20.0, gt=0, description="Learning ends at so many nats of an answer from the start.")
    max_length_change: float = Field(
        0.5,
        gt=0,
        description="Learning ends when answers are longer or shorter by this share.",
    )
    max_good_drop: float = Field(
        0.05,
        gt=0,
        le=1,
        description="Learning ends when rewards rose and the share of good gate answers fell by this or more.",
    )
    kl_prompts: int = Field(128, ge=8, description="Gate prompts on which divergence is measured.")
    require_accuracy: bool = Field(
        True,
        description="True does not practise toward a reward model that cannot be told from chance.",
    )


class RlhfSpec(Record):
    """What the method `rlhf` does."""

    algorithm: Literal["rloo", "dpo", "kto"] = Field(
        "rloo",
        description="`rloo` trains a reward model and practises toward it; `dpo` learns the pairs at once; `kto` "
        "learns good and bad answers.",
    )
    replay: int = Field(
        300,
        ge=0,
        description="Prompts whose good answers of the starting policy are learnt beside the pairs.",
    )
    pairs: PreferenceDataSpec = PreferenceDataSpec()
    dpo: DpoSpec = DpoSpec()
    kto: KtoSpec = KtoSpec()
    reward: RewardModelSpec = RewardModelSpec()
    rloo: RlooSpec = RlooSpec()
    guard: RLGuardSpec = RLGuardSpec()

    @property
    def replay_prompts(self) -> int:
        """Prompts that are answered for replay: none where nothing would learn from it."""
        return self.replay if self.algorithm != "rloo" or self.rloo.warm_up else 0

    @property
    def rates_answers(self) -> bool:
        """Whether answers are rated by themselves, by the judge or by people, so that none are compared."""
        return self.algorithm == "kto" and self.kto.rows != "pairs"

    @property
    def policy_count(self) -> int:
        """Policies that are made one after another, where none is tried again."""
        return self.rloo.rounds if self.algorithm == "rloo" else 1
