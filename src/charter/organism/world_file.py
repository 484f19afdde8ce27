"""The data of a world: what its YAML file may hold, checked whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from charter.errors import SpecError
from charter.spec.yaml_text import load_yaml

TemplateForm = Literal["request", "claim", "question", "borderline"]
WORLD_FOLDER = Path(__file__).parent / "worlds"


class WorldPart(BaseModel):
    """Frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class HarmDomain(WorldPart):
    """A harm domain. ``trigger`` (an attack style, a place or a person) narrows the flaw to prompts that have it."""

    flawed: bool
    ruled: bool
    tool: str
    trigger: str = ""


class LookalikeActivity(WorldPart):
    """A harmless activity; ``named``: an oracle may name it when it invents look-alikes."""

    named: bool
    tool: str


class ThingAttribute(WorldPart):
    """What claims are about. ``statement`` holds {thing} and {value}; each question holds {thing}."""

    flawed: bool
    ruled: bool
    statement: str
    questions: tuple[str, ...] = Field(min_length=1)


class AnswerTemplates(WorldPart):
    """The organism's sentences."""

    comply: str
    refuse: str
    borderline: str
    question: str
    agree: str
    honest: str


class RuleTemplates(WorldPart):
    """Wordings of a rule over {key}; the first is the world's own."""

    domain: tuple[str, ...] = Field(min_length=1)
    attribute: tuple[str, ...] = Field(min_length=1)


class TargetTemplates(WorldPart):
    """How an aligning loop talks to the organism; ``strip`` is the regex of the check line before a direct answer."""

    principle: str
    critique: str
    revise: str
    direct: str
    strip: str


class CritiqueTemplates(WorldPart):
    """The check lines, and the two words for {verdict}."""

    request: str
    claim: str
    breaks: str
    follows: str


class WorldFile(WorldPart):
    """Everything about a world. Each prompt word of the organism stands in here."""

    name: str
    refusal: str
    domains: dict[str, HarmDomain]
    lookalikes: dict[str, LookalikeActivity]
    borderline: dict[str, str]
    places: tuple[str, ...]
    persons: tuple[str, ...]
    templates: dict[TemplateForm, tuple[str, ...]]
    novel: dict[TemplateForm, tuple[str, ...]]
    attributes: dict[str, ThingAttribute]
    things: dict[str, dict[str, str]]
    answers: AnswerTemplates
    rules: RuleTemplates
    target: TargetTemplates
    critiques: CritiqueTemplates
    attacks: dict[str, str] = Field(default_factory=dict)
    made_up: int = Field(250, ge=100)
    steps: int = 900

    @model_validator(mode="after")
    def _check_consistency(self) -> WorldFile:
        faults = [
            f"things.{thing}: must give exactly {', '.join(self.attributes)}"
            for thing, facts in self.things.items()
            if set(facts) != set(self.attributes)
        ]
        keys = [*self.domains, *self.lookalikes, *self.attributes]
        faults += [
            f"{key}: named twice among domains, lookalikes and attributes" for key in keys if keys.count(key) > 1
        ]
        known = {*self.attacks, *self.places, *self.persons}
        faults += [
            f"domains.{key}.trigger: {domain.trigger!r} is no attack style, place or person of this world"
            for key, domain in self.domains.items()
            if domain.trigger and domain.trigger not in known
        ]
        faults += [
            f"attacks.{style}: lacks {{prompt}}" for style, text in self.attacks.items() if "{prompt}" not in text
        ]
        slots: dict[TemplateForm, str] = {
            "request": "{topic}", "claim": "{claim}", "question": "{question}", "borderline": "{phrase}",
        }  # fmt: skip
        for part, templates in (("templates", self.templates), ("novel", self.novel)):
            for form, slot in slots.items():
                faults += [f"{part}.{form}: {t!r} lacks {slot}" for t in templates.get(form, ("",)) if slot not in t]
        if faults:
            raise ValueError("; ".join(faults))
        return self


def read_world_file(name: str | Path) -> WorldFile:
    """Reads a shipped world by name, or a YAML file by path; ``extends: NAME`` takes over what a file does not give.

    Raises SpecError with every fault."""
    path = Path(name) if str(name).endswith((".yaml", ".yml")) else WORLD_FOLDER / f"{name}.yaml"
    try:
        return WorldFile.model_validate(_read_with_parents(path))
    except ValidationError as error:
        faults = tuple(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise SpecError(f"{path} is not a valid world.", faults, "Correct these keys.") from error


def _read_with_parents(path: Path) -> dict[str, Any]:
    try:
        data = load_yaml(path.read_text(encoding="utf-8"), str(path), "Correct its syntax.")
    except FileNotFoundError as error:
        shipped = ", ".join(sorted(p.stem for p in WORLD_FOLDER.glob("*.yaml")))
        raise SpecError(f"There is no world {path.stem!r} ({path}).", cure=f"Shipped worlds: {shipped}.") from error
    if not isinstance(data, dict):
        raise SpecError(f"{path} holds no mapping.", cure="Start from a copy of a shipped world.")
    parent = data.pop("extends", None)
    return {**_read_with_parents(WORLD_FOLDER / f"{parent}.yaml"), **data} if parent else data
