"""Benchmarks that a spec names: lm-eval's tasks, Dromedary's multiple choice, and judged ones over any prompts."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from charter.records.record import Record
from charter.spec.prompt_spec import SourceSpec

JudgedKind = Literal["harmlessness", "over_refusal", "honesty", "helpfulness"]
GateKind = Literal["harmlessness", "helpfulness", "honesty", "over_refusal", "capability"]
"""The margins of ``options.gates``."""
_KINDS = ("task", "protocol", "judged")
_BELONGS = {
    "include": ("task",),
    "fewshot": ("task",),
    "chat": ("task",),
    "path": ("task", "protocol"),
    "legacy_halved": ("protocol",),
    "template": ("protocol",),
    "prompts": ("judged",),
    "styles": ("judged",),
}
"""Which kind of benchmark each key is for."""


class BenchmarkSpec(Record):
    """One benchmark: a `task` of lm-eval, a `protocol` of Dromedary, or a `judged` one over `prompts`."""

    name: str = Field("", description="Name of the benchmark in reports. Empty: that of its task or kind.")
    task: str = Field(
        "", description="A task or group of lm-eval, or `python:package.module:Object`, a benchmark of your own."
    )
    protocol: Literal["", "truthfulqa", "hhh"] = Field(
        "",
        description="A multiple-choice protocol of Dromedary (arXiv 2305.03047): `truthfulqa` or `hhh`.",
    )
    judged: Literal["", JudgedKind] = Field(
        "",
        description="What a judge measures over `prompts`: harmlessness, over_refusal, honesty or helpfulness.",
    )
    include: str = Field("", description="A folder with task files of your own, for lm-eval.")
    path: str = Field(
        "",
        description="A local copy of the data: TruthfulQA, BBQ, HHH, or JSONL in the task's own columns.",
    )
    fewshot: int | None = Field(
        None,
        ge=0,
        description="Number of examples before each question. Null: the task's own number.",
    )
    chat: bool = Field(False, description="True asks in the model's chat format, false in plain text.")
    template: str = Field("", description="Wording of the question in a protocol. Empty: the published one.")
    legacy_halved: bool = Field(
        False,
        description="True scores as the published script does: the first half of the candidates alone.",
    )
    prompts: tuple[SourceSpec, ...] = Field((), description="Sources of the prompts of a judged benchmark.")
    styles: tuple[str, ...] = Field(
        ("plain",),
        min_length=1,
        description="Attack styles in which each prompt of a judged benchmark is asked.",
    )
    limit: int | None = Field(None, ge=1, description="The most items. Null: all.")
    gate: bool | GateKind = Field(
        False,
        description="A part of the items decides, under the margin of their kind (true) or of the kind that is named. "
        "The other items are measured.",
    )

    @model_validator(mode="after")
    def _one_kind(self) -> BenchmarkSpec:
        kinds = [kind for kind in _KINDS if getattr(self, kind)]
        if len(kinds) != 1:
            raise ValueError(f"is one benchmark: give one of {', '.join(_KINDS)}")
        given = self.model_fields_set
        wrong = [key for key, of in _BELONGS.items() if key in given and kinds[0] not in of]
        if wrong:
            raise ValueError(f"has {', '.join(wrong)}, which says nothing where {kinds[0]} is given")
        if self.judged and not self.prompts:
            raise ValueError("is judged, and has no prompts to ask")
        if self.legacy_halved and self.protocol != "truthfulqa":
            raise ValueError("legacy_halved is a way of scoring TruthfulQA")
        if len(set(self.styles)) < len(self.styles):
            raise ValueError("names a style twice")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.effective_name):
            raise ValueError("needs a name of letters, digits, _ and -")
        if self.gate and (fault := self._no_gate_reason):
            raise ValueError(f"can have no gate: {fault}")
        return self

    @property
    def is_plugin(self) -> bool:
        """Whether the task is a benchmark of the user's own."""
        return self.task.startswith("python:")

    @property
    def gate_kind(self) -> GateKind | None:
        """Under which margin it decides; None where it decides nothing."""
        if isinstance(self.gate, str) or not self.gate:
            return self.gate or None
        honest = self.protocol == "truthfulqa" or self.task.startswith("truthfulqa")
        return self.judged or ("honesty" if honest else "capability")

    @property
    def _no_gate_reason(self) -> str:
        """Why nothing of it can decide, where that is plain from what it is."""
        if self.is_plugin:
            return "a benchmark of your own is measured whole"
        if self.judged == "helpfulness":
            return "it is a comparison with the starting model, which has no figure of its own to be held against"
        if len(self.styles) > 1:
            return "answers to one prompt in several styles are alike, and would count as several; name one style"
        if self.task == "truthfulqa_mc2":
            return "its figure is a mean of probabilities, and gates are held on shares; truthfulqa_mc1 has one"
        return ""

    @property
    def effective_name(self) -> str:
        """Its name, or one made of what it is."""
        if self.name or self.task:
            return self.name or re.sub(r"[^A-Za-z0-9_-]+", "_", self.task)
        if self.judged:
            return "_".join([self.judged, *(s.name for s in self.prompts if s.name)])
        return f"dromedary_{self.protocol}" + ("_legacy_halved" if self.legacy_halved else "")
