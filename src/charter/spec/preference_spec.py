"""Learning from preferences: where pairs come from, what learns from them, and what watches over it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from charter.records.record import Record


class PreferenceDataSpec(Record):
    """Where preferences come from. ``people``: ``files`` as for ``calibrate.pairs``, with a column ``rater`` where it
    is known. ``judge`` or ``model`` (the policy itself, by its log-probabilities): of ``prompts`` red-team prompts and
    as many helpful ones the policy draws ``draws`` answers at ``temperature``, and one more under the constitution,
    where there is one (``under_rules``); ``each``: most pairs of a prompt. Each pair is compared in both orders, under
    a rule drawn at random, and kept if both agree.

    ``borrowed``: for that share of the benign prompts, the answer is set against one that was given to an alike prompt
    and is least like it. ``balance``: so many times more pairs whose chosen answer is the longer one than pairs whose
    rejected one is, or the other way round, at most; 0: as they come."""

    by: Literal["people", "judge", "model"] = "judge"
    files: tuple[str, ...] = ()
    prompts: int = Field(300, ge=1)
    draws: int = Field(3, ge=1)
    temperature: float = Field(1.0, gt=0)
    under_rules: bool = True
    pairs_per_prompt: int = Field(2, ge=1)
    swapped_answer_share: float = Field(1.0, ge=0, le=1)
    max_length_ratio: float = Field(4.0, ge=0)


class DpoSpec(Record):
    """DPO: ``beta`` holds it to the start; ``sft`` weighs the SFT term, which replay is learnt by."""

    learning_rate: float = Field(1e-5, gt=0)
    epochs: float = Field(2.0, gt=0)
    batch: int = Field(8, ge=1)
    beta: float = Field(0.1, gt=0)
    sft_weight: float = Field(1.0, ge=0)


class KtoSpec(Record):
    """KTO (Ethayarajh et al. 2024, arXiv 2402.01306): each answer is learnt as good or as bad. ``rows``: ``pairs``
    gives a good and a bad answer of each pair; ``verdicts`` asks the judge about each answer by itself, and compares
    none. ``beta`` and ``desirable_weight`` are the defaults of TRL's KTOConfig; ``undesirable_weight`` null makes good
    and bad answers weigh the same in all (the paper's equation 8). ``learning_rate`` is ten times TRL's 1e-6, which is
    for all weights, as LoRA takes larger steps; ``epochs`` are those of DPO, and ``batch`` holds as many answers as
    eight pairs. A batch of 1 has no estimate of the divergence."""

    rows: Literal["pairs", "verdicts"] = "pairs"
    learning_rate: float = Field(1e-5, gt=0)
    epochs: float = Field(2.0, gt=0)
    batch: int = Field(16, ge=2)
    beta: float = Field(0.1, gt=0)
    desirable_weight: float = Field(1.0, gt=0)
    undesirable_weight: float | None = Field(None, gt=0)


class RewardModelSpec(Record):
    """The reward model. ``kind`` full starts from the policy's weights, lora from the base's."""

    kind: Literal["lora", "full"] = "lora"
    learning_rate: float = Field(1e-4, gt=0)
    epochs: float = Field(2.0, gt=0)
    batch: int = Field(16, ge=1)
    center_rewards_coefficient: float = Field(0.01, ge=0)


class RlooSpec(Record):
    """RLOO, in ``rounds`` of ``steps`` optimiser steps, each on ``batch`` answers, ``group`` to a prompt; gate is
    scored after each round. ``beta``: what a nat of divergence costs of the reward. ``warm_up``: chosen answers on
    which the policy is first tuned by SFT, with replay; 0: none. ``reward``: the learnt model, or the judge itself."""

    reward: Literal["model", "judge"] = "model"
    warm_up: int = Field(0, ge=0)
    rounds: int = Field(3, ge=1)
    steps: int = Field(40, ge=1)
    learning_rate: float = Field(1e-5, gt=0)
    batch: int = Field(64, ge=2)
    answers_per_prompt: int = Field(4, ge=2)
    beta: float = Field(0.05, ge=0)
    temperature: float = Field(1.0, gt=0)


class RLGuardSpec(Record):
    """When learning ends: at ``kl`` nats an answer from the start (practice also within a round,
    by its own draws); where answers are ``length`` (a share) longer or
    shorter; or where what is learnt and what is judged part: rewards rose, and the share of good gate answers fell by
    ``alarm`` or more. Then the last good policy stays. ``sample``: prompts on which divergence is measured. ``fit``:
    nothing is practised toward a reward model whose accuracy on the check pairs cannot be told from chance."""

    max_kl: float = Field(20.0, gt=0)
    max_length_change: float = Field(0.5, gt=0)
    max_good_drop: float = Field(0.05, gt=0, le=1)
    kl_prompts: int = Field(128, ge=8)
    require_accuracy: bool = True


class RlhfSpec(Record):
    """What the method ``rlhf`` does: the ``algorithm`` by which a policy learns from preferences (``dpo`` is the light
    path, ``kto`` needs no pairs). ``replay``: prompts whose good answers of the starting policy are learnt beside, by
    ``dpo``, ``kto`` or in the warm-up of ``rloo``; where there is none of these, none is made."""

    algorithm: Literal["rloo", "dpo", "kto"] = "rloo"
    replay: int = Field(300, ge=0)
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
        """Whether the judge rates answers by themselves, so that none are compared."""
        return self.algorithm == "kto" and self.kto.rows == "verdicts"

    @property
    def policy_count(self) -> int:
        """Policies that are made one after another, where none is tried again."""
        return self.rloo.rounds if self.algorithm == "rloo" else 1
