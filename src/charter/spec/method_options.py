"""The switches of the method, and the numbers that go with a model's size."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from charter.records.label_fits import JudgeReading
from charter.records.measurements import MarginKind
from charter.records.record import Record
from charter.spec.curation_spec import CurationSpec
from charter.spec.preference_spec import RlhfSpec
from charter.spec.principle_spec import CaiSpec, EngraveSpec, SelfAlignSpec
from charter.spec.prompt_spec import DrawSpec
from charter.spec.self_instruct_spec import SelfInstructSpec


class AttackSpec(Record):
    """Attempts in other styles, beside the plain draws."""

    styles: tuple[str, ...] = Field(
        ("plain",),
        description="Styles of the attempts, such as `plain`, `role_play`, `base64` or `escalation`. `plain` alone "
        "with `uniform` makes no attempt.",
    )
    bandit: Literal["uniform", "greedy", "thompson"] = Field(
        "uniform",
        description="What chooses the next attempt: `uniform`, `greedy` or `thompson` (Thompson sampling).",
    )
    batch: int = Field(100, ge=1, description="Attempts in an iteration.")
    rounds: int = Field(4, ge=1, description="Rounds of attempts in an iteration. Each learns from those before.")
    floor: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Share of the attempts that is drawn uniformly, whatever was learned.",
    )
    regions: int = Field(60, ge=1, description="Groups of alike prompts. An arm of the bandit is a style in a region.")
    prior_weight: float = Field(20.0, gt=0, description="Weight of the prior that all arms share, counted in attempts.")
    cluster_cap: int = Field(5, ge=1, description="A finding earns nothing once so many alike findings are known.")
    distance: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Two findings are alike up to this cosine distance of their responses.",
    )
    turns: int = Field(3, ge=2, description="User turns of an escalation.")
    languages: tuple[str, ...] = Field(
        ("Zulu", "Scottish Gaelic", "Hmong", "Guarani"),
        min_length=1,
        description="Languages of a translation. One is drawn for each prompt.",
    )

    @property
    def round_sizes(self) -> tuple[int, ...]:
        """Attempts in each round."""
        return tuple(self.batch // self.rounds + (n < self.batch % self.rounds) for n in range(self.rounds))

    @property
    def is_idle(self) -> bool:
        """Whether nothing is attempted beside the plain draws."""
        return self.styles == ("plain",) and self.bandit == "uniform"


class JudgingSpec(Record):
    """What the judge is given, and how its replies are counted."""

    judge_input: Literal["exchange", "response"] = Field(
        "exchange",
        description="`exchange` shows prompt and response; `response` shows the response alone, as in the paper.",
    )
    rubric: str = Field(
        "conduct",
        description="What a finding is: a shipped rubric's name, or a YAML file of your own. Harmlessness is measured "
        "by it too.",
    )
    policy: str = Field("", description="A text file with the policy that the rubric `policy` judges by.")
    read: JudgeReading = Field(
        "rationale",
        description="`rationale` reads the label of a reply in words; `label` reads how likely the judge holds each "
        "label. The second needs an engine that gives log-probabilities.",
        exclude_if=lambda read: read == "rationale",
    )
    votes: int = Field(1, ge=1, description="Votes on each exchange. An outcome needs more than half of them.")
    retries: int = Field(1, ge=0, description="How often the judge is asked again after a reply that is off the menu.")
    temperature: float = Field(
        0.0,
        ge=0,
        description="Temperature of the judge. Raise it where there are several votes.",
    )


class ClusterSpec(Record):
    """How failures are put together before a rule is proposed."""

    by: Literal["text", "batch"] = Field(
        "text",
        description="`text` groups failures by what they say; `batch` puts all of them together, as in the paper.",
    )
    distance: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Failures belong together up to this cosine distance (TF-IDF, average linkage).",
    )
    names: bool = Field(
        False,
        description="True asks the proposer for a name of each cluster, and joins those that it calls one theme.",
        exclude_if=lambda names: not names,
    )
    hide: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="Share of each cluster that the proposer never sees. A rule's efficacy is measured on it.",
    )
    show: int = Field(12, ge=1, description="The most failures that one proposal is shown.")


class ProposeSpec(Record):
    """How a rule is asked for."""

    reply: Literal["rule", "last_paragraph"] = Field(
        "rule",
        description="`rule` asks for one structured rule; `last_paragraph` takes that of a free reply, as in the "
        "paper.",
    )
    verify: bool = Field(
        True,
        description="True takes a proposal only if it tells the assistant what to do, copies nothing that the proposer "
        "was shown, and mends a failure. False takes every proposal, as in the paper.",
    )
    candidates: int = Field(
        3,
        ge=1,
        description="Wordings that are asked for in each cluster. The one that mends most stays. Only with `verify`.",
    )
    temperature: float = Field(
        0.7,
        ge=0,
        description="Temperature of the wordings after the first, which is the likeliest. Only with `verify`.",
    )
    probes: int = Field(
        3,
        ge=1,
        description="Shown failures that are answered again under each wording. It must mend one. Only with `verify`.",
    )
    retries: int = Field(
        2,
        ge=0,
        description="How often wordings are asked for again where all were refused. Only with `verify`.",
    )
    name_prompts: bool = Field(
        False,
        description='True lets an order that forbids something ("Do not ...", "When asked ..., decline") name it in '
        "the words of a failing prompt; false refuses it as a copy. Only with `verify`.",
        exclude_if=lambda name_prompts: not name_prompts,
    )


class AmendSpec(Record):
    """How new rules come into the constitution."""

    mode: Literal["merge", "replace"] = Field(
        "merge",
        description="`merge` joins new rules to the old ones, and rules that say the same become one. `replace` keeps "
        "this batch's rules alone, as in the paper.",
    )
    retire: bool = Field(True, description="True takes rules out of force that are measured to be useless.")


class RatifySpec(Record):
    """Who decides whether a discovered rule is in force."""

    by: Literal["auto", "people", "threshold"] = Field(
        "auto",
        description="`auto`: the loop alone. `people`: the run pauses until each rule is decided. `threshold`: rules "
        "that are measured useful and not too broad are in force, and the others wait for people.",
    )
    approvals: int = Field(1, ge=1, description="How many different people must be of one mind about a rule.")


class LookalikeSpec(Record):
    """Look-alikes: harmless prompts in the words and the form of the failures."""

    count: int = Field(10, ge=0, description="Look-alikes that are asked for in each cluster. 0: none.")


class ReflectSpec(Record):
    """How the target mends its failures."""

    turns: Literal["critique", "direct"] = Field(
        "critique",
        description="`critique` asks for a critique and then a revision; `direct` appends the rules to the prompt, as "
        "in the paper.",
    )
    by: Literal["start", "policy"] = Field(
        "start",
        description="Who revises: `start` (the starting model) or `policy` (the policy itself, as in the paper).",
    )
    max_rule_characters: int | None = Field(
        None,
        ge=1,
        description="The most characters of rules shown at once; a longer constitution shows the rules nearest to the "
        "failure. Null: a quarter of the target's context.",
    )
    end_sentences: bool = Field(
        False,
        description="True ends a revision that the most tokens cut with its last whole sentence; false drops it.",
        exclude_if=lambda end_sentences: not end_sentences,
    )


class VerifySpec(Record):
    """Which revisions become training rows."""

    verify: bool = Field(
        True,
        description="True keeps only what the judge passes; false keeps every answer, as in the paper.",
    )
    check_help: bool = Field(
        True,
        description="True also asks the judge whether a revision that only refuses could have helped safely, and drops "
        "such revisions.",
        exclude_if=lambda check_help: check_help,
    )
    max_characters: int = Field(4000, ge=1, description="The most characters of a revision.")
    opening_share: float = Field(
        0.2,
        gt=0,
        le=1,
        description="The largest share of the rows that may begin with the same five words.",
    )
    exempt_openings: tuple[str, ...] = Field((), description="Openings that may repeat, such as a canonical refusal.")


class ReplaySpec(Record):
    """Rows that keep what was good before tuning."""

    ratio: float = Field(
        4.0,
        ge=0,
        description="Replay rows for each revision. Rows are repeated where there are too few.",
    )
    fresh: int = Field(48, ge=0, description="The most ordinary prompts that are answered anew in an iteration.")
    lookalikes: bool = Field(True, description="True replays good answers to look-alikes.")
    compliant: bool = Field(True, description="True replays red-team exchanges that comply already.")


class RuleMeasurementSpec(Record):
    """What is measured of each rule."""

    efficacy: bool = Field(
        True,
        description="True measures what each new rule does on failures that its proposer never saw.",
    )
    breadth: bool = Field(
        True,
        description="True measures whether rules make the target refuse look-alikes, and rewords such rules.",
    )


class TrainingSpec(Record):
    """Supervised fine-tuning."""

    start: Literal["start", "previous"] = Field(
        "start",
        description="`start` tunes the starting model anew on all rows; `previous` goes on from the last policy with "
        "this batch's rows, as in the paper.",
    )
    kind: Literal["lora", "full"] = Field("lora", description="`lora` trains an adapter, `full` all weights.")
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="Peak learning rate. Null: that of `scale`, which fits LoRA; full tuning needs about a tenth.",
    )
    epochs: float = Field(2.0, gt=0, description="Passes over the rows.")
    batch: int = Field(8, ge=1, description="Rows in an optimiser step.")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear",
        description="How the learning rate falls: `linear`, `cosine` or `constant`.",
    )
    warmup: float = Field(
        0.03,
        ge=0,
        allow_inf_nan=False,
        description="Share of the steps over which the learning rate rises. From 1 on it is a number of steps.",
    )
    weight_decay: float = Field(0.0, ge=0, description="Weight decay of AdamW.")
    rank: int = Field(16, ge=1, description="Rank of LoRA.")
    alpha: int = Field(32, ge=1, description="Scale of LoRA: its update counts alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout of LoRA.")
    targets: Literal["auto"] | tuple[str, ...] = Field(
        "auto",
        description="Layers that LoRA adapts, by the end of their names. `auto`: all linear layers but the output.",
    )


class StopSpec(Record):
    """When the loop ends."""

    rule: Literal["confident", "data"] = Field(
        "confident",
        description="`confident` stops when draws bound violations; `data` stops at the end of the prompts, as in the "
        "paper.",
    )
    min_prompts: int = Field(
        100,
        ge=1,
        description="The fewest prompts drawn since the last tuning on which `confident` may stop.",
    )
    max_violation_rate: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="`confident` stops when the upper 95 % Wilson bound of the share that violates is under this.",
    )
    patience: int = Field(
        2,
        ge=1,
        description="The loop stops after so many accepted policies without progress on gate.",
    )
    iterations: int = Field(8, ge=1, description="The most iterations.")


class GateSpec(Record):
    """What a new policy may not lose on the same gate prompts, against the starting model and the last accepted
    policy."""

    roll_back: bool = Field(
        True,
        description="True does not use a policy that is surely worse than a margin allows. Its rows are tried again.",
    )
    retries: int = Field(2, ge=0, description="How often such rows are tried again before the run stops.")
    retry_with: Literal["replay", "step", "both"] | None = Field(
        None,
        description="What changes in a further try: more `replay`, half the learning `step`, or `both`. Null: `step` "
        "in rlhf, else `replay`.",
    )
    alpha: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="Chance, at most, that any gate of the run fails by chance alone.",
    )
    harmlessness: float = Field(0.02, ge=0, lt=1, description="Margin of harmlessness, as a share.")
    helpfulness: float = Field(0.03, ge=0, lt=1, description="Margin of helpfulness, as a share.")
    honesty: float = Field(0.03, ge=0, lt=1, description="Margin of honesty, as a share.")
    capability: float = Field(0.03, ge=0, lt=1, description="Margin of every other metric, as a share.")
    over_refusal: float = Field(0.03, ge=0, lt=1, description="Margin of over-refusal, as a share.")
    min_pass_rate: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="An alarm is raised when the share of revisions that pass verification is surely under this.",
    )
    min_pass_ratio: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="An alarm is raised when that share is surely under this part of what it was in the run before.",
    )

    def margin(self, kind: MarginKind) -> float:
        """How much of a metric of this kind a policy may lose, as a share."""
        return float(getattr(self, kind))

    def retry_settings(self, tries: int) -> tuple[int, float]:
        """Rows of replay more for each revision, and the share of the learning rate, after so many failures."""
        how = self.retry_with or "replay"
        return (0 if how == "step" else 2 * tries, 1.0 if how == "replay" else 0.5**tries)


class MethodOptions(Record):
    """The switches of the methods. Each departure from a paper is one of them."""

    draw: DrawSpec = DrawSpec()
    attack: AttackSpec = AttackSpec()
    judge: JudgingSpec = JudgingSpec()
    cluster: ClusterSpec = ClusterSpec()
    propose: ProposeSpec = ProposeSpec()
    amend: AmendSpec = AmendSpec()
    ratify: RatifySpec = RatifySpec()
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
