"""The whole of what is asked, its parts put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from charter.records.record import Record
from charter.spec.benchmark_spec import BenchmarkSpec
from charter.spec.method_options import MethodOptions, ScaleSpec
from charter.spec.model_spec import OracleSpec, TargetSpec, TunerSpec
from charter.spec.prompt_spec import PromptsSpec
from charter.templates import Templates


class Budget(Record):
    """Limits of the whole run; at a limit the run pauses and can be resumed with a larger one. ``calls`` (planned),
    ``tokens`` (read and written) and ``money`` (in the currency of the prices) are the oracles'; ``hours`` are those of
    work, pauses left out."""

    calls: int | None = Field(None, ge=1)
    tokens: int | None = Field(None, ge=1)
    money: float | None = Field(None, gt=0)
    hours: float | None = Field(None, gt=0)


LabelledName = Literal["xstest-completions", "jailbreakeval", "gptfuzz", "rbr-gold", "harmbench-val"]
"""The published sets of labelled exchanges whose files are understood by name."""


class LabelledColumnsSpec(Record):
    """Which column holds what. ``prompt`` and ``response``: a text, or a list of turns. ``label``: one column, or
    several, of which each is a rater and the majority decides; ``rater``: who rated, where each rating has a row."""

    prompt: str = "prompt"
    response: str = "response"
    label: str | tuple[str, ...] = "label"
    rater: str = ""


class LabelledFileSpec(Record):
    """A file of exchanges with labels: a published set by ``name``, or with its ``columns``. ``labels`` says what its
    words mean; ``skip``: so many rows that cannot be used may be left out."""

    path: str = Field(min_length=1)
    name: LabelledName | None = None
    columns: LabelledColumnsSpec = LabelledColumnsSpec()
    labels: dict[str, str] = Field(default_factory=dict)
    skip: int = Field(0, ge=0)


class CalibrateSpec(Record):
    """What the method ``calibrate`` measures the judge on. ``pairs``: files of which people preferred one response
    (hh-rlhf, HHH alignment, or columns prompt, chosen, rejected). ``labelled``: files with columns prompt, response,
    label, or with ``columns`` or a published set's ``name`` beside the ``path``; ``labels`` says what other words mean:
    a label of the rubric, violates or complies. ``injections``: the shipped attacks. ``limit``: at most so many of
    each file."""

    pairs: tuple[str, ...] = ()
    labelled: tuple[str | LabelledFileSpec, ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    injections: bool = False
    limit: int | None = Field(None, ge=1)


class AuditSpec(Record):
    """What the method ``audit`` measures. ``model``: a run (its policy), a folder of weights or of an adapter for the
    target, or a hub id; empty: the target. ``baseline``: the same, or a finished audit, whose answers are taken over.
    ``battery``: a file; empty: the audit's, or one made from the baseline, which is a run then. ``margin``: a smaller
    drop counts as kept.

    Of a battery that is made: at most so many of a principle's ``own`` failures and of ``fresh`` prompts, and of each
    kind of a benchmark's ``prompts``; attack ``styles`` (null: the world's own, or the shipped wordings); further
    ``benchmarks`` beside those of the run's spec, where one of the same name gives way to it."""

    model: str = ""
    baseline: str = ""
    battery: str = ""
    margin: float = Field(0.05, gt=0, lt=1)
    own: int = Field(30, ge=0)
    fresh: int = Field(60, ge=0)
    prompts: int = Field(330, ge=1)
    styles: tuple[str, ...] | None = None
    benchmarks: tuple[BenchmarkSpec, ...] = Field((), exclude_if=lambda benchmarks: not benchmarks)

    def merge_benchmarks(self, known: Sequence[BenchmarkSpec]) -> tuple[BenchmarkSpec, ...]:
        """The ``known`` benchmarks with the further ones."""
        named = {b.effective_name for b in self.benchmarks}
        return (*(b for b in known if b.effective_name not in named), *self.benchmarks)


class ContinueFrom(Record):
    """A finished run to go on from: its policy, constitution and rows. ``run``: its folder, absolute or as seen from
    the new run's; ``head``: its HEAD, or the hash of its records. ``constitution``: a file with what people made of
    it; without one, the run's own with the decisions taken on it since. ``takes``: ``prompts`` where the run is one of
    ``self_instruct``, which leaves nothing else."""

    run: str
    head: str = ""
    constitution: str = ""
    inherit: Literal["policy", "prompts"] = "policy"


class Spec(Record):
    """The whole of what is asked. ``offline``: nothing may be asked of the network; what is in local caches is used.
    ``constitution``: the rules that ``self_align``, ``think``, ``cai`` and ``rlhf`` begin with: ``shipped``, ``world``,
    a YAML file, ``none``, or (empty) those of the step before, else the shipped ones. ``steps`` chains methods: each
    step is a run of its own, under this spec with the keys that the step changes, and goes on from the one before with
    its model, constitution and rows."""

    version: Literal[1] = 1
    method: Literal[
        "iteralign", "red_team", "calibrate", "audit", "evaluate", "self_instruct", "self_align", "think", "engrave",
        "clone", "cai", "rlhf"
    ] = "iteralign"  # fmt: skip
    seed: int = Field(0, ge=0)
    world: str = ""
    offline: bool = False
    target: TargetSpec = TargetSpec()
    tuner: TunerSpec = TunerSpec()
    oracle: OracleSpec = OracleSpec()
    proposer: OracleSpec | None = None
    judge: OracleSpec | None = None
    attacker: OracleSpec | None = None
    evaluator: Literal["world"] | OracleSpec = "world"
    prompts: PromptsSpec = PromptsSpec()
    options: MethodOptions = MethodOptions()
    scale: ScaleSpec = ScaleSpec()
    templates: Literal["world"] | Templates = Templates()
    benchmarks: tuple[BenchmarkSpec, ...] = ()
    constitution: str = ""
    budget: Budget = Budget()
    calibrate: CalibrateSpec = CalibrateSpec()
    audit: AuditSpec = AuditSpec()
    continue_from: ContinueFrom | None = None
    steps: tuple[dict[str, Any], ...] = ()
