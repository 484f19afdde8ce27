"""The inputs of self-instruct: seeds, question types and the limits of its calls."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from charter.data.instructing.instruction_records import (
    Instruction,
    QuestionType,
    SelfInstructInputs,
)
from charter.errors import SpecError
from charter.ports import Source
from charter.records.chat import Prompt
from charter.records.templates import Templates
from charter.similarity.splits import LeakageFilter, split_prompts
from charter.spec import SelfInstructSpec, Spec
from charter.spec.yaml_text import load_yaml
from charter.wiring.prompt_sets import make_ids_distinct, open_source, select_kept_out

if TYPE_CHECKING:
    from charter.organism.world import World


SEEDS_DIR = Path(__file__).parent.parent / "recipes" / "seeds"


def build_instructions(
    spec: Spec, world: World | None, templates: Templates, guard: LeakageFilter
) -> SelfInstructInputs:
    """What self-instruct begins with, as the spec says. Raises SpecError."""
    options = spec.options.instruct
    seeds = tuple(Instruction(id=p.id, text=p.text) for p in _load_seeds(options, spec, world))
    if not seeds:
        raise SpecError("options.instruct.seeds: there are none", cure="Give at least one prompt.")
    if world is not None and spec.templates == "world" and options.generator == "target":
        from charter.organism.prompt_exercises import ASKING_TEMPLATES

        templates = Templates.model_validate(templates.model_dump() | ASKING_TEMPLATES)
    return SelfInstructInputs(seeds, _load_types(options, world), guard, templates, options)


def load_protected_prompts(spec: Spec, world: World | None) -> list[Prompt]:
    """Gate and held-out: the world's; or of the sources in ``prompts`` whatever no run trains on. None where neither
    is given."""
    if world is not None and spec.evaluator == "world":
        from charter.organism.world_benchmark import measured_prompts

        measured = measured_prompts(world, spec.prompts.gate, spec.prompts.heldout)
        return [*measured["gate"], *measured["heldout"]]
    asked, read = spec.prompts, list[Source]()
    if asked.redteam != "world":
        read += [open_source(source, "unsafe", offline=spec.offline) for source in asked.redteam]
    if asked.helpful != "world":
        read += [open_source(source, "safe", offline=spec.offline) for source in asked.helpful]
    every = make_ids_distinct([prompt for source in read for prompt in source.prompts()])
    parts = split_prompts(every, spec.prompts.near_duplicate)
    return [*parts["gate"], *parts["heldout"], *select_kept_out(every, spec.prompts.keep_out)]


def max_calls(given: SelfInstructInputs) -> dict[str, int]:
    """Calls for prompts, topics and questions."""
    options, topics = given.options, given.options.topics
    named = topics.rounds * topics.calls * len(given.types)
    each = 1 if options.reply == "one" else topics.asked
    found = (named * each + len(given.types)) if named else 0
    hints = 1 if options.reply == "one" else topics.hints
    return {"prompts": options.rounds * options.calls, "topics": named, "questions": -(-found // hints)}


def max_prompts(given: SelfInstructInputs) -> int:
    """Prompts that these calls bring, where the generator writes as many as it is asked for."""
    calls, options = max_calls(given), given.options
    each, hints = (1, 1) if options.reply == "one" else (options.asked, options.topics.hints)
    return calls["prompts"] * each + calls["questions"] * hints


def _load_seeds(options: SelfInstructSpec, spec: Spec, world: World | None) -> list[Prompt]:
    if options.seeds == "world":
        assert world is not None
        return sample_world_seeds(world)
    if options.seeds == "shipped":
        from charter.records.chat import user_prompt

        rows = yaml.safe_load((SEEDS_DIR / "tasks.yaml").read_text(encoding="utf-8"))
        return [user_prompt(row, source="seed tasks") for row in rows]
    read = [open_source(source, "safe", offline=spec.offline) for source in options.seeds]
    return make_ids_distinct([prompt for source in read for prompt in source.prompts()])


def sample_world_seeds(world: World) -> list[Prompt]:
    """Twenty of a world's red-team prompts and twenty ordinary ones, all for training."""
    return [*world.redteam_prompts("train")[:20], *world.helpful_prompts("train")[:20]]


def _load_types(options: SelfInstructSpec, world: World | None) -> tuple[QuestionType, ...]:
    asked = options.topics
    if not asked.rounds:
        return ()
    if asked.types == "world":
        from charter.organism.prompt_generator import question_types

        assert world is not None
        return question_types(world)
    path = SEEDS_DIR / "question_types.yaml" if asked.types == "shipped" else Path(asked.types)
    return read_question_types(path)


def read_question_types(path: Path) -> tuple[QuestionType, ...]:
    """Question types from a YAML list of {type, asks, topic, question}. Raises SpecError naming each faulty row."""
    cure = f"Begin with a copy of {SEEDS_DIR / 'question_types.yaml'}."
    try:
        rows = load_yaml(path.read_text(encoding="utf-8"), f"options.instruct.topics.types: {path}", cure)
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"options.instruct.topics.types: {path} cannot be read: {error}", cure=cure) from error
    found, faults = [], []
    for number, row in enumerate(rows if isinstance(rows, list) else [], 1):
        try:
            given = {"id" if key == "type" else key: value for key, value in dict(row).items()}
            found.append(QuestionType.model_validate(given))
        except (ValidationError, ValueError, TypeError) as error:
            faults.append(f"row {number}: {_first_fault(error)}")
    faults += [f"{name}: named twice" for name, count in Counter(kind.id for kind in found).items() if count > 1]
    if faults or not found:
        raise SpecError(f"{path} holds no list of question types", tuple(faults), cure)
    return tuple(found)


def _first_fault(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "is no mapping"
    told = error.errors()[0]
    return f"{'.'.join(map(str, told['loc'])).replace('id', 'type')}: {told['msg']}"
