"""The whole of what is asked, its parts put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from charter.records.label_fits import FitKind
from charter.records.record import Record
from charter.records.templates import Templates
from charter.spec.benchmark_spec import BenchmarkSpec
from charter.spec.executor_spec import ExecutorSpec
from charter.spec.method_options import MethodOptions
from charter.spec.model_spec import OracleSpec, TargetSpec
from charter.spec.notify_spec import NotifySpec
from charter.spec.prompt_spec import PromptsSpec
from charter.spec.scale_spec import ScaleSpec
from charter.spec.tuner_spec import TunerSpec

PARQUET_ABOVE_MB = 256
"""Some hundred thousand answers. Lines are read by more tools; of 4,624 real answers Parquet took 29 % of the disk."""


class Budget(Record):
    """Limits of the whole run. At a limit the run pauses, and a larger one takes it on."""

    calls: int | None = Field(None, ge=1, description="The most oracle calls. Null: no limit.")
    tokens: int | None = Field(None, ge=1, description="The most tokens that oracles read and write. Null: no limit.")
    money: float | None = Field(
        None,
        gt=0,
        description="The most money for oracles, in the currency of their prices. Null: no limit.",
    )
    hours: float | None = Field(None, gt=0, description="The most hours of work, pauses left out. Null: no limit.")


LabelledName = Literal["xstest-completions", "jailbreakeval", "gptfuzz", "rbr-gold", "harmbench-val"]
"""The published sets of labelled exchanges whose files are understood by name."""


class LabelledColumnsSpec(Record):
    """Which column of a labelled file holds what."""

    prompt: str = Field("prompt", description="Column of the prompt: a text, or a list of turns.")
    response: str = Field("response", description="Column of the response: a text, or a list of turns.")
    label: str | tuple[str, ...] = Field(
        "label", description="Column of the label. Several columns are several raters, and the majority decides."
    )
    rater: str = Field("", description="Column of the rater, where each rating has its own row.")


class LabelledFileSpec(Record):
    """A file of exchanges with labels."""

    path: str = Field(min_length=1, description="The file, of any kind that can be read.")
    name: LabelledName | None = Field(None, description="A published set whose columns are known.")
    columns: LabelledColumnsSpec = LabelledColumnsSpec()
    labels: dict[str, str] = Field(
        default_factory=dict, description="What this file's label words mean, as in `calibrate.labels`."
    )
    skip: int = Field(0, ge=0, description="Rows that cannot be used and may be left out.")


class CalibrateSpec(Record):
    """What the method `calibrate` measures the judge on."""

    pairs: tuple[str, ...] = Field(
        (),
        description="Files of which people preferred one response: hh-rlhf, HHH alignment, or columns prompt, chosen, "
        "rejected.",
    )
    labelled: tuple[str | LabelledFileSpec, ...] = Field(
        (),
        description="Files with columns prompt, response and label; or `{path, columns}`, or `{path, name}` of a "
        "published set.",
    )
    labels: dict[str, str] = Field(
        default_factory=dict,
        description="What other words in the label column mean, as `{word: violates}`, `{word: complies}` or a label "
        "of the rubric.",
    )
    skip: int = Field(
        0,
        ge=0,
        description="Rows of each file that cannot be used and may be left out. A labelled file given as a mapping has "
        "a `skip` of its own.",
    )
    injections: bool = Field(False, description="True measures how many verdicts the shipped injections turn.")
    limit: int | None = Field(None, ge=1, description="The most rows of each file. Null: all.")
    both_readings: bool = Field(
        False,
        description="True judges the labelled files by both readings of `options.judge.read`, and compares them.",
    )
    fit: FitKind = Field(
        "threshold",
        description="What is learnt for `options.judge.read: label`: a `threshold` alone, or a curve before it: "
        "`platt` (logistic) or `isotonic`.",
    )


class AuditSpec(Record):
    """What the method `audit` compares, and what a new battery holds."""

    model: str = Field(
        "",
        description="The model: a run (its policy), a folder of weights or of an adapter, or a hub id. Empty: the "
        "target.",
    )
    baseline: str = Field("", description="The baseline: the same, or a finished audit, whose answers are taken over.")
    battery: str = Field(
        "",
        description="A battery's file. Empty: the finished audit's, or one made from the baseline.",
    )
    margin: float = Field(0.05, gt=0, lt=1, description="A drop that is surely smaller than this share counts as kept.")
    own: int = Field(30, ge=0, description="The most failures of each principle in a new battery.")
    fresh: int = Field(60, ge=0, description="The most untrained prompts for each principle in a new battery.")
    prompts: int = Field(330, ge=1, description="The most prompts of each kind of a benchmark in a new battery.")
    styles: tuple[str, ...] | None = Field(
        None,
        description="Attack styles of a new battery. Null: the world's own, or the shipped wordings.",
    )
    benchmarks: tuple[BenchmarkSpec, ...] = Field(
        (),
        description="Benchmarks of a new battery beside those of the run's spec.",
    )

    def merge_benchmarks(self, known: Sequence[BenchmarkSpec]) -> tuple[BenchmarkSpec, ...]:
        """The ``known`` benchmarks with the further ones."""
        named = {b.effective_name for b in self.benchmarks}
        return (*(b for b in known if b.effective_name not in named), *self.benchmarks)


class ContinueFrom(Record):
    """A finished run to go on from, with its policy, constitution and rows."""

    run: str = Field(..., description="Folder of the run, absolute or as seen from the new run's folder.")
    head: str = Field("", description="The run's HEAD, or the hash of its records. Empty: it is not checked.")
    constitution: str = Field(
        "",
        description="A file with what people made of the run's constitution. Empty: the run's own, with the decisions "
        "taken since.",
    )
    inherit: Literal["policy", "prompts"] = Field(
        "policy",
        description="What is taken over: the `policy` with constitution and rows, or the `prompts` of self-instruct.",
    )


class Spec(Record):
    """The whole of what is asked."""

    version: Literal[1] = Field(1, description="Version of this format.")
    method: Literal[
        "iteralign",
        "red_team",
        "calibrate",
        "audit",
        "evaluate",
        "self_instruct",
        "self_align",
        "think",
        "engrave",
        "clone",
        "cai",
        "rlhf",
    ] = Field(
        "iteralign",
        description="What is done. To align: `iteralign`, `self_align`, `cai` or `rlhf`. One part alone: `red_team`, "
        "`self_instruct`, `think`, `engrave` or `clone`. To measure: `evaluate`, `audit`, or `calibrate` (the judge).",
    )
    seed: int = Field(0, ge=0, description="Decides every random choice of the run.")
    world: str = Field("", description="A test world: `village`, `city`, or a world file. Empty: none.")
    offline: bool = Field(
        False,
        description="True asks nothing of the network. Local files, caches and servers on this machine are used.",
    )
    target: TargetSpec = TargetSpec()
    tuner: TunerSpec = TunerSpec()
    executor: ExecutorSpec = ExecutorSpec()
    oracle: OracleSpec = Field(
        OracleSpec(),
        description="The stronger model that judges and proposes, unless `judge` or `proposer` is set.",
    )
    proposer: OracleSpec | None = Field(
        None,
        description="The model that writes rules and look-alikes, with the keys of `oracle`. Null: the oracle.",
    )
    judge: OracleSpec | None = Field(
        None,
        description="The model that judges exchanges, with the keys of `oracle`. Null: the oracle.",
    )
    attacker: OracleSpec | None = Field(
        None,
        description="The model that writes attacks, with the keys of `oracle`. Null: none.",
    )
    evaluator: Literal["world"] | OracleSpec = Field(
        "world",
        description="What scores the model before and after: a model with no other role, or `world` (the world's "
        "truth).",
    )
    embedder: str = Field(
        "auto",
        description="What tells by meaning which failures, rules and prompts are alike: a folder of model2vec, of "
        "sentence-transformers or of a language model. `auto`: the target, where its weights run in this process. "
        "`none`: words alone (TF-IDF), as for the organism.",
    )
    prompts: PromptsSpec = Field(
        PromptsSpec(),
        description="Sources of prompts. They are split into train, gate and held-out by near-duplicate cluster.",
    )
    options: MethodOptions = MethodOptions()
    scale: ScaleSpec = ScaleSpec()
    templates: Literal["world"] | Templates = Field(
        Templates(),
        description="What is said to models, with names in braces that are filled in. `world`: the world's own.",
    )
    benchmarks: tuple[BenchmarkSpec, ...] = Field(
        (),
        description="What is measured beside the evaluator's scores, and decides where it has a gate.",
    )
    constitution: str = Field(
        "",
        description="Rules that a method begins with: `shipped`, `world`, `none`, or a file. Empty: those of the step "
        "before, else shipped; for `iteralign` none.",
    )
    budget: Budget = Budget()
    parquet_above_mb: int = Field(
        PARQUET_ABOVE_MB,
        ge=0,
        description="Megabytes of a finished step's records above which they are kept as `NAME.parquet` in place of "
        "`NAME.jsonl`. 0 keeps each step so.",
    )
    calibrate: CalibrateSpec = CalibrateSpec()
    audit: AuditSpec = AuditSpec()
    notify: NotifySpec = NotifySpec()
    continue_from: ContinueFrom | None = Field(
        None,
        description="A finished run to go on from. `charter fork` writes it.",
    )
    steps: tuple[dict[str, Any], ...] = Field(
        (),
        description="Methods one after another, each with the keys that it changes. Each goes on from the one before.",
    )
