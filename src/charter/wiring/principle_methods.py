"""The inputs of the methods that begin with rules: the rules, the exemplars, and what self-instruct begins with."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from charter.constitution import document as articles
from charter.constitution.document import Constitution
from charter.constitution.exemplars import Exemplar, read_exemplars
from charter.constitution.rule_citations import find_wrong_citations
from charter.data.instructing.instruction_records import SelfInstructInputs
from charter.errors import SpecError
from charter.records.model_refs import ModelRef
from charter.records.rules import Amendment
from charter.records.templates import Templates
from charter.similarity.splits import LeakageFilter
from charter.spec import Spec
from charter.wiring.components import Components
from charter.wiring.self_instruct_inputs import SEEDS_DIR, build_instructions

if TYPE_CHECKING:
    from charter.methods.inputs import Inputs

PRINCIPLE_METHODS = ("self_align", "think", "engrave", "clone", "cai")
METHODS_WITHOUT_RULES = ("engrave", "clone")
"""Those that show no rules to the target."""
METHODS_ON_GENERATED = ("self_align", "think", "clone")
"""Those that answer what self-instruct wrote."""
PRINCIPLES_DIR = Path(__file__).parent.parent / "organism" / "worlds" / "principles"


def build_preference_inputs(components: Components) -> Inputs:
    """What a method that learns from preferences is given. Raises SpecError."""
    rules = load_constitution(components)
    return replace(components.method_inputs(), pairs=components.pairs, ratings=components.ratings, constitution=rules)


def build_principle_inputs(components: Components) -> Inputs:
    """What a method that begins with rules is given. Raises SpecError."""
    from charter.methods.inputs import PrincipleInputs

    task, spec = components.method_inputs(), components.spec
    constitution = load_constitution(components)
    principles = PrincipleInputs(
        exemplars=check_exemplars(load_exemplars(spec, components.templates), constitution, spec, components.templates),
        instructions=_build_instructions(components, task.guard),
        generated_prompts=tuple(task.guard.remove_leaked(components.written)),
        rows=components.rows,
        tuning_base=resolve_tuning_base(spec),
        samples=spec.options.cai.samples if spec.method == "cai" else 1,
    )
    return replace(task, constitution=constitution, principles=principles)


def load_constitution(components: Components) -> Constitution:
    """The rules to begin with: those of a file, or those that the step before left; none of our own where nothing is
    answered under rules. Raises SpecError."""
    asked, given, world = components.spec.constitution, components.given, components.world
    if asked == "none":
        return Constitution()
    if not asked and given is not None and given.constitution.active:
        return given.constitution
    if not asked and components.spec.method in METHODS_WITHOUT_RULES:
        return Constitution()
    if asked == "world":
        name = world.name if world is not None else ""
        path = PRINCIPLES_DIR / f"{name}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in PRINCIPLES_DIR.glob("*.yaml")))
            raise SpecError(f"constitution: nobody wrote rules for the world {name!r}", cure=f"There are: {known}.")
        return articles.read_constitution(path)
    return (
        articles.read_constitution(SEEDS_DIR / "principles.yaml")
        if asked in ("", "shipped")
        else _read_rules(Path(asked))
    )


def load_seed(components: Components) -> Constitution:
    """The rules of people that discovery begins with: in force from the start, and kept as they are worded. None where
    the spec names none, or the run goes on from another one, which has its own. Raises SpecError."""
    asked = components.spec.constitution
    if components.given is not None or asked in ("", "none"):
        return Constitution()
    found = load_constitution(components)
    reason = f"written by a person: {found.source or asked}"
    rules = tuple(p.model_copy(update={"by": "people"}) for p in found.principles)
    additions = [
        Amendment(id=f"added/{p.id}", action="added", principles=(p.id,), reason=reason, by="people") for p in rules
    ]
    return Constitution().amend(rules, additions).model_copy(update={"source": found.source})


def _read_rules(path: Path) -> Constitution:
    """The rules of a file, which has one at least, and none without words. Raises SpecError."""
    found = articles.read_constitution(path)
    if not found.source:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found = found.model_copy(update={"source": f"{path.name}@sha256:{digest}"})
    cure = "Write a YAML list of texts, or of title and text; `constitution: none` is for no rules."
    if not found.active:
        raise SpecError(f"constitution: {path} holds no rule in force", cure=cure)
    empty = tuple(f"{p.id}: is empty" for p in found.active if not p.text.strip())
    if empty:
        raise SpecError(f"constitution: {path} holds rules without words", empty, cure)
    return found


def load_exemplars(spec: Spec, templates: Templates) -> tuple[Exemplar, ...]:
    """The exemplars of ``self_align``; where the prompt's own turn holds the rules, those of a file alone. Raises
    SpecError."""
    asked = spec.options.self_align.exemplars
    if spec.method not in ("self_align", "think") or not asked:
        return ()
    if asked == "shipped":
        return () if "{prompt}" in templates.think_prompt else read_exemplars(SEEDS_DIR / "exemplars.yaml")
    return read_exemplars(Path(asked))


def check_exemplars(
    given: tuple[Exemplar, ...], constitution: Constitution, spec: Spec, templates: Templates
) -> tuple[Exemplar, ...]:
    """The same exemplars, whose thoughts name no rule that the constitution does not have. Raises SpecError."""
    if not uses_shipped_exemplars(spec) and "{number}" not in templates.rule:
        return given
    if faults := find_wrong_citations([(e.id, e.thought) for e in given], constitution, uses_shipped_exemplars(spec)):
        raise SpecError(
            "options.self_align.exemplars: they name rules that the constitution does not have",
            faults,
            "Write exemplars whose thoughts name your rules by number and name, or show none: `exemplars: ''`.",
        )
    return given


def uses_shipped_exemplars(spec: Spec) -> bool:
    """Whether the exemplars are the shipped ones, which name the shipped rules."""
    return spec.options.self_align.exemplars == "shipped"


def resolve_tuning_base(spec: Spec) -> ModelRef | None:
    """The model to be tuned in the target's place, where the spec names one. Raises EngineError."""
    asked = spec.options.cai.pretrained
    if spec.method != "cai" or not asked:
        return None
    from charter.models.weights import resolve_model

    return resolve_model(asked, "", offline=spec.offline, remote_code=spec.target.remote_code)


def _build_instructions(components: Components, guard: LeakageFilter) -> SelfInstructInputs | None:
    spec = components.spec
    taken = spec.continue_from is not None and spec.continue_from.inherit == "prompts"
    if spec.method not in METHODS_ON_GENERATED or spec.options.self_align.prompts == "source" or taken:
        return None
    return build_instructions(spec, components.world, components.templates, guard)
