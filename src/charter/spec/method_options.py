"""The switches of the method, and the numbers that go with a model's size."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from charter.records.measurements import MarginKind
from charter.records.record import Record
from charter.spec.curation_spec import CurationSpec
from charter.spec.preference_spec import RlhfSpec
from charter.spec.principle_spec import CaiSpec, EngraveSpec, SelfAlignSpec
from charter.spec.self_instruct_spec import SelfInstructSpec


class DrawSpec(Record):
    """Batches for red teaming: how many prompts in the first iteration, how many in each ``later`` one, in which
    order."""

    batch: int = Field(160, ge=1)
    later: int = Field(110, ge=1)
    order: Literal["uniform", "file"] = "uniform"


class AttackSpec(Record):
    """Attempts beside the plain draws: ``batch`` an iteration in ``rounds``, each in one of ``styles``. ``bandit``
    spends them: ``uniform``, ``greedy`` or ``thompson``, the latter two with a share ``floor`` drawn uniformly.
    ``plain`` alone with ``uniform`` makes no attempt.

    ``regions``: groups of alike prompts; ``prior``: weight of the shared prior, in tries; a finding is covered by
    ``enough`` alike ones (responses within cosine ``distance``). ``turns``: of an escalation; ``languages``: of a
    translation, one drawn for each prompt."""

    styles: tuple[str, ...] = ("plain",)
    bandit: Literal["uniform", "greedy", "thompson"] = "uniform"
    batch: int = Field(100, ge=1)
    rounds: int = Field(4, ge=1)
    floor: float = Field(0.2, ge=0, le=1)
    regions: int = Field(60, ge=1)
    prior_weight: float = Field(20.0, gt=0)
    cluster_cap: int = Field(5, ge=1)
    distance: float = Field(0.8, gt=0, le=1)
    turns: int = Field(3, ge=2)
    languages: tuple[str, ...] = Field(("Zulu", "Scottish Gaelic", "Hmong", "Guarani"), min_length=1)

    @property
    def round_sizes(self) -> tuple[int, ...]:
        """Attempts in each round."""
        return tuple(self.batch // self.rounds + (n < self.batch % self.rounds) for n in range(self.rounds))

    @property
    def is_idle(self) -> bool:
        """Whether nothing is attempted beside the plain draws."""
        return self.styles == ("plain",) and self.bandit == "uniform"


class JudgingSpec(Record):
    """``exchange``: prompt and response under a closed menu. ``response``: the response alone, a finding where the
    reply holds "Negative". ``rubric``: what a finding is, and what harmlessness is measured by: a shipped rubric's
    name, or a YAML file; ``policy``: a text file, for the rubric ``policy``. An outcome needs more than half of
    ``votes``. A reply off the menu is asked for again, ``retries`` times at most."""

    judge_input: Literal["exchange", "response"] = "exchange"
    rubric: str = "conduct"
    policy: str = ""
    votes: int = Field(1, ge=1)
    retries: int = Field(1, ge=0)
    temperature: float = Field(0.0, ge=0)


class ClusterSpec(Record):
    """``text``: findings grouped by what they say (TF-IDF, average linkage, cosine ``distance``); ``batch``: all in
    one.
    ``hide``: share of each cluster, by hash, that the proposer never sees. ``show``: most failures in one call."""

    by: Literal["text", "batch"] = "text"
    distance: float = Field(0.8, gt=0, le=1)
    hide: float = Field(0.5, ge=0, lt=1)
    show: int = Field(12, ge=1)


class ProposeSpec(Record):
    """``rule``: one structured rule for each cluster. ``last_paragraph``: of a free reply, its last paragraph."""

    reply: Literal["rule", "last_paragraph"] = "rule"


class AmendSpec(Record):
    """``merge``: new rules join the constitution and rules that say the same become one; ``replace``: only this
    batch's rules. ``retire``: rules that are measured useless no longer hold."""

    mode: Literal["merge", "replace"] = "merge"
    retire: bool = True


class LookalikeSpec(Record):
    """Look-alikes asked for in each cluster; 0 asks for none."""

    count: int = Field(10, ge=0)


class ReflectSpec(Record):
    """``critique``: critique, then revision, as turns of a conversation. ``direct``: the rules appended to the
    prompt. ``by``: the starting model, which has not been tuned to answer without a critique, or the policy itself.
    ``rules``: most characters of rules shown at once; where the constitution is longer, those nearest to the
    failure are chosen for each. Null: a quarter of the target's context, at three characters a token."""

    turns: Literal["critique", "direct"] = "critique"
    by: Literal["start", "policy"] = "start"
    max_rule_characters: int | None = Field(None, ge=1)


class VerifySpec(Record):
    """Which revisions become rows. ``verify`` off keeps them all but those without an answer. Lengths are in
    characters."""

    verify: bool = True
    max_characters: int = Field(4000, ge=1)
    opening_share: float = Field(0.2, gt=0, le=1)
    exempt_openings: tuple[str, ...] = ()


class ReplaySpec(Record):
    """Rows that keep what was good: at least ``ratio`` for each revision; at most ``fresh`` new ordinary prompts an
    iteration
    (rows are repeated where there are too few)."""

    ratio: float = Field(4.0, ge=0)
    fresh: int = Field(48, ge=0)
    lookalikes: bool = True
    complied: bool = True


class RuleMeasurementSpec(Record):
    """``efficacy`` of each new principle on failures that its proposer never saw. ``breadth``: whether benign
    look-alikes become refused under it; a rule that reaches too far is reworded."""

    efficacy: bool = True
    breadth: bool = True


class TrainingSpec(Record):
    """``start``: each policy anew from the starting model on all rows so far; ``previous``: on from the last policy
    on this batch's rows. ``warmup``: a share of the steps; from 1 on, how many."""

    start: Literal["start", "previous"] = "start"
    kind: Literal["lora", "full"] = "lora"
    learning_rate: float = Field(1e-4, gt=0)
    epochs: float = Field(2.0, gt=0)
    batch: int = Field(8, ge=1)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = Field(0.03, ge=0, allow_inf_nan=False)
    weight_decay: float = Field(0.0, ge=0)
    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: Literal["auto"] | tuple[str, ...] = "auto"


class StopSpec(Record):
    """``confident``: when the prompts drawn since the last tuning (at least ``least``) bound violations under ``below``
    (upper 95 % Wilson); ``data``: only at the end of the data. ``patience``: accepted policies without progress on gate
    before it stops."""

    rule: Literal["confident", "data"] = "confident"
    min_prompts: int = Field(100, ge=1)
    max_violation_rate: float = Field(0.05, gt=0, lt=1)
    patience: int = Field(2, ge=1)
    iterations: int = Field(8, ge=1)


class GateSpec(Record):
    """A policy is held against the starting model and the last accepted policy on the same gate prompts, metric by
    metric. It fails only where a one-sided bound of the paired change lies beyond the metric's margin; all bounds of a
    run together err with a chance of ``alpha`` at most (over gates, iterations, and the two comparisons).

    ``roll_back``: a policy that fails is not used. Its rows (in ``rlhf``: its pairs, or its round of practice) are
    tried again, at most ``retries`` times, with more ``replay`` (two rows more for each revision or pair, each time), a
    smaller ``step`` (half the learning rate, each time) or ``both``; then the run stops. ``again`` null: a smaller step
    in ``rlhf``, more replay elsewhere. Margins are shares: of harmlessness, helpfulness, honesty, over-refusal (a
    benchmark says which of its metrics is which), and ``capability`` for every other metric. The share of revisions
    that pass verification raises an alarm where it is surely under ``passing``, or surely under ``collapse`` of what it
    was in the run before."""

    roll_back: bool = True
    retries: int = Field(2, ge=0)
    retry_with: Literal["replay", "step", "both"] | None = None
    alpha: float = Field(0.05, gt=0, lt=1)
    harmlessness: float = Field(0.02, ge=0, lt=1)
    helpfulness: float = Field(0.03, ge=0, lt=1)
    honesty: float = Field(0.03, ge=0, lt=1)
    capability: float = Field(0.03, ge=0, lt=1)
    over_refusal: float = Field(0.03, ge=0, lt=1)
    min_pass_rate: float = Field(0.1, ge=0, lt=1)
    min_pass_ratio: float = Field(0.5, ge=0, lt=1)

    def margin(self, kind: MarginKind) -> float:
        """How much of a metric of this kind a policy may lose, as a share."""
        return float(getattr(self, kind))

    def retry_settings(self, tries: int) -> tuple[int, float]:
        """Rows of replay more for each revision, and the share of the learning rate, after so many failures."""
        how = self.retry_with or "replay"
        return (0 if how == "step" else 2 * tries, 1.0 if how == "replay" else 0.5**tries)


class MethodOptions(Record):
    """The switches of the method ``iteralign``; each departure from the paper is one of them. ``instruct``: those of
    ``self_instruct``; ``self_align``, ``engrave`` and ``cai``: those of the methods of these names; ``learn``: of
    ``rlhf``."""

    draw: DrawSpec = DrawSpec()
    attack: AttackSpec = AttackSpec()
    judge: JudgingSpec = JudgingSpec()
    cluster: ClusterSpec = ClusterSpec()
    propose: ProposeSpec = ProposeSpec()
    amend: AmendSpec = AmendSpec()
    contrast: LookalikeSpec = LookalikeSpec()
    reflect: ReflectSpec = ReflectSpec()
    keep: VerifySpec = VerifySpec()
    replay: ReplaySpec = ReplaySpec()
    measure: RuleMeasurementSpec = RuleMeasurementSpec()
    tune: TrainingSpec = TrainingSpec()
    stop: StopSpec = StopSpec()
    gates: GateSpec = GateSpec()
    curate: CurationSpec = CurationSpec()
    instruct: SelfInstructSpec = SelfInstructSpec()
    self_align: SelfAlignSpec = SelfAlignSpec()
    engrave: EngraveSpec = EngraveSpec()
    cai: CaiSpec = CaiSpec()
    learn: RlhfSpec = RlhfSpec()


class ScaleSpec(Record):
    """Numbers that depend on the model's size, shared by recipes: token limits, the grid from which learning rates
    are chosen, the longest row."""

    answer_tokens: int = Field(512, ge=1)
    critique_tokens: int = Field(256, ge=1)
    stop: tuple[str, ...] = ()
    frequency_penalty: float = 0.0
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    row_tokens: int = Field(2048, ge=8)
    learning_rates: tuple[float, ...] = (1e-5, 5e-5, 1e-4, 2e-4)
