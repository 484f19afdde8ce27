"""Self-instruct: its seeds and question types, whom they are shown to, and a run of it alone."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from charter.errors import SpecError
from charter.instructing.records import Instructed, Instruction, Instructions, QuestionType
from charter.nouns import Prompt
from charter.ports import Source
from charter.similarity import Guard, split_prompts
from charter.spec import Instructing, Spec
from charter.templates import Templates
from charter.wiring import models
from charter.wiring.prompts import distinct, kept_out
from charter.wiring.targets import Targets

if TYPE_CHECKING:
    from charter.organism.world import World
    from charter.run import Run

SEEDS = Path(__file__).parent.parent / "recipes" / "seeds"
SERVING = ".serving"
PROMPTS = "prompts.jsonl"
"""What a run leaves for others to read: a prompt a line, with its question type as category where it has one."""


class SelfInstructing:
    """The live objects of a spec whose method is ``self_instruct``; files are read at once."""

    def __init__(self, spec: Spec, revision: str = "") -> None:
        self.spec, self.options = spec, spec.options.instruct
        self.world = models.world(spec)
        guard = Guard(protected(spec, self.world), spec.prompts.near_duplicate)
        self.given = instructions(spec, self.world, models.templates(spec, self.world), guard)
        self.start = models.start(spec, self.world, revision) if self.by_target else None
        asked = {} if self.by_target else {"proposer": spec.proposer or spec.oracle}
        self.price = models.prices(asked, spec.budget).get("proposer", models.FREE)

    @property
    def by_target(self) -> bool:
        """Whether the target writes its own prompts."""
        return self.options.generator == "target"

    def describe(self) -> dict[str, Any]:
        """The target, where it is the one that writes."""
        return models.describe(self.spec, self.start) if self.start is not None else {}

    def execute(self, run: Run) -> None:
        """Writes the prompts, publishes them, and finishes the run."""
        from charter.reports.page import page

        found = self._written(run)
        outcome = {
            "method": "self_instruct",
            "world": self.spec.world or None,
            "prompts": len(found.prompts),
            "supervision": supervision(self.given),
        }
        run.publish({PROMPTS: as_lines(found), "outcome.json": json.dumps(outcome, indent=2) + "\n"})
        run.publish({"report.html": page(run.directory)}, derived=True)
        run.finish()
        shutil.rmtree(run.directory / SERVING, ignore_errors=True)

    def _written(self, run: Run) -> Instructed:
        from charter.methods.self_instruct import self_instruct

        with ExitStack() as opened:
            if self.start is not None:
                targets = opened.enter_context(closing(Targets(self.spec, self.start, run.directory / SERVING)))
                engine = opened.enter_context(targets.engine(self.start))
                price = None if self.spec.target.by_http else models.FREE
                writer = run.metered(engine, "target", "target", price)
            else:
                asked = self.spec.proposer or self.spec.oracle
                oracle = opened.enter_context(closing(models.oracle(asked, self.world, self.spec.offline)))
                writer = run.metered(oracle, "proposer", "aligning", self.price)
            return self_instruct(run.steps("000"), writer, self.given)

    def forecast(self) -> dict[str, Any]:
        """What would be asked at most."""
        calls = calls_at_most(self.given)
        return {
            "method": "self_instruct",
            "generator": self.options.generator,
            "seeds": len(self.given.seeds),
            "calls_at_most": calls,
            "calls": sum(calls.values()),
            "prompts_at_most": written_at_most(self.given),
            "tokens_to_generate_at_most": sum(calls.values()) * self.options.max_tokens,
        }


def instructions(spec: Spec, world: World | None, templates: Templates, guard: Guard) -> Instructions:
    """What self-instruct begins with, as the spec says. Raises SpecError."""
    options = spec.options.instruct
    seeds = tuple(Instruction(id=p.id, text=p.text) for p in _seeds(options, spec, world))
    if not seeds:
        raise SpecError("options.instruct.seeds: there are none", cure="Give at least one prompt.")
    if world is not None and spec.templates == "world" and options.generator == "target":
        from charter.organism.asking import WORDINGS

        templates = Templates.model_validate(templates.model_dump() | WORDINGS)
    return Instructions(seeds, _types(options, world), guard, templates, options)


def protected(spec: Spec, world: World | None) -> list[Prompt]:
    """Gate and held-out: the world's; or of the sources in ``prompts`` whatever no run trains on. None where neither
    is given."""
    if world is not None and spec.evaluator == "world":
        from charter.organism.measure import WorldBenchmark

        benchmark = WorldBenchmark(world, spec.prompts.gate, spec.prompts.heldout, ())
        return [*benchmark.prompts("gate"), *benchmark.prompts("heldout")]
    from charter.sources.prompts import SourcePrompts

    asked, read = spec.prompts, list[Source]()
    if asked.redteam != "world":
        read += [SourcePrompts(source, "unsafe", offline=spec.offline) for source in asked.redteam]
    if asked.helpful != "world":
        read += [SourcePrompts(source, "safe", offline=spec.offline) for source in asked.helpful]
    every = distinct([prompt for source in read for prompt in source.prompts()])
    parts = split_prompts(every, spec.prompts.near_duplicate)
    return [*parts["gate"], *parts["heldout"], *kept_out(every, spec.prompts.keep_out)]


def supervision(given: Instructions) -> dict[str, int]:
    """What people wrote for it, in lines."""
    return {"seeds": len(given.seeds), "question types": len(given.types)}


def as_lines(found: Instructed) -> str:
    """Prompts as JSONL, for ``prompts.redteam`` or ``prompts.helpful`` of another run."""
    rows = [{"prompt": p.text, "category": p.meta.get("category", ""), "id": p.id} for p in found.prompts]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def calls_at_most(given: Instructions) -> dict[str, int]:
    """Calls for prompts, topics and questions."""
    options, topics = given.options, given.options.topics
    named = topics.rounds * topics.calls * len(given.types)
    each = 1 if options.reply == "one" else topics.asked
    found = (named * each + len(given.types)) if named else 0
    hints = 1 if options.reply == "one" else topics.hints
    return {"prompts": options.rounds * options.calls, "topics": named, "questions": -(-found // hints)}


def written_at_most(given: Instructions) -> int:
    """Prompts that these calls bring, where the generator writes as many as it is asked for."""
    calls, options = calls_at_most(given), given.options
    each, hints = (1, 1) if options.reply == "one" else (options.asked, options.topics.hints)
    return calls["prompts"] * each + calls["questions"] * hints


def _seeds(options: Instructing, spec: Spec, world: World | None) -> list[Prompt]:
    if options.seeds == "world":
        assert world is not None
        return world_seeds(world)
    if options.seeds == "shipped":
        from charter.nouns import user_prompt

        rows = yaml.safe_load((SEEDS / "tasks.yaml").read_text(encoding="utf-8"))
        return [user_prompt(row, source="seed tasks") for row in rows]
    from charter.sources.prompts import SourcePrompts

    read = [SourcePrompts(source, "safe", offline=spec.offline) for source in options.seeds]
    return distinct([prompt for source in read for prompt in source.prompts()])


def world_seeds(world: World) -> list[Prompt]:
    """Twenty of a world's red-team prompts and twenty ordinary ones, all for training."""
    return [*world.redteam("train")[:20], *world.helpful("train")[:20]]


def _types(options: Instructing, world: World | None) -> tuple[QuestionType, ...]:
    asked = options.topics
    if not asked.rounds:
        return ()
    if asked.types == "world":
        from charter.organism.instructing import question_types

        assert world is not None
        return question_types(world)
    path = SEEDS / "question_types.yaml" if asked.types == "shipped" else Path(asked.types)
    return read_types(path)


def read_types(path: Path) -> tuple[QuestionType, ...]:
    """Question types from a YAML list of {type, asks, topic, question}. Raises SpecError naming each faulty row."""
    cure = f"Begin with a copy of {SEEDS / 'question_types.yaml'}."
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecError(f"options.instruct.topics.types: {path} cannot be read: {error}", cure=cure) from error
    found, faults = [], []
    for number, row in enumerate(rows if isinstance(rows, list) else [], 1):
        try:
            given = {"id" if key == "type" else key: value for key, value in dict(row).items()}
            found.append(QuestionType.model_validate(given))
        except (ValidationError, ValueError, TypeError) as error:
            faults.append(f"row {number}: {_first(error)}")
    faults += [f"{name}: named twice" for name, count in Counter(kind.id for kind in found).items() if count > 1]
    if faults or not found:
        raise SpecError(f"{path} holds no list of question types", tuple(faults), cure)
    return tuple(found)


def _first(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "is no mapping"
    told = error.errors()[0]
    return f"{'.'.join(map(str, told['loc'])).replace('id', 'type')}: {told['msg']}"
