"""What the methods that begin with rules are given: the rules, the exemplars, and what self-instruct begins with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.constitution import document as articles
from charter.constitution.document import Constitution
from charter.constitution.exemplars import Exemplar, read_exemplars
from charter.constitution.rule_citations import find_wrong_citations
from charter.errors import SpecError
from charter.records.model_refs import ModelRef
from charter.spec import Spec
from charter.templates import Templates
from charter.wiring import role_models
from charter.wiring.row_files import read_rows
from charter.wiring.self_instruct_inputs import build_instructions, max_calls, max_prompts

if TYPE_CHECKING:
    from charter.methods.inputs import Inputs
    from charter.methods.principle_driven import PrincipleState
    from charter.wiring.components import Components

PRINCIPLE_METHODS = ("self_align", "think", "engrave", "clone", "cai")
METHODS_WITHOUT_RULES = ("engrave", "clone")
"""Those that show no rules to the target."""
METHODS_ON_GENERATED = ("self_align", "think", "clone")
"""Those that answer what self-instruct wrote."""
METHODS_ON_GIVEN_ROWS = ("self_align", "engrave")
"""Those that tune on rows of files."""
SEEDS_DIR = Path(__file__).parent.parent / "recipes" / "seeds"
PRINCIPLES_DIR = Path(__file__).parent.parent / "organism" / "worlds" / "principles"


def method_function(method: str) -> Callable[..., PrincipleState]:
    """The method of this name."""
    if method == "cai":
        from charter.methods.cai import cai

        return cai
    from charter.methods.self_align import clone_alone, engrave_alone, self_align, think_alone

    alone = {"think": think_alone, "engrave": engrave_alone, "clone": clone_alone}
    return alone.get(method, self_align)


def build_inputs(assembly: Components) -> Inputs:
    """What such a method is given. Raises SpecError."""
    from charter.methods.inputs import PrincipleInputs

    task, spec = assembly.method_inputs(), assembly.spec
    constitution = load_constitution(assembly)
    principles = PrincipleInputs(
        exemplars=check_exemplars(load_exemplars(spec, assembly.templates), constitution, spec, assembly.templates),
        instructions=_build_instructions(assembly, task.guard),
        generated_prompts=tuple(task.guard.remove_leaked(assembly.written)),
        rows=read_rows(spec.options.engrave.rows) if spec.method in METHODS_ON_GIVEN_ROWS else (),
        tuning_base=resolve_tuning_base(spec),
        samples=spec.options.cai.samples if spec.method == "cai" else 1,
    )
    return replace(task, constitution=constitution, principles=principles)


def load_constitution(assembly: Components) -> Constitution:
    """The rules to begin with: those of a file, or those that the step before left; none of our own where nothing is
    answered under rules. Raises SpecError."""
    asked, given, world = assembly.spec.constitution, assembly.given, assembly.world
    if asked == "none":
        return Constitution()
    if not asked and given is not None and given.constitution.active:
        return given.constitution
    if not asked and assembly.spec.method in METHODS_WITHOUT_RULES:
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


def _read_rules(path: Path) -> Constitution:
    """The rules of a file, which has one at least, and none without words. Raises SpecError."""
    found = articles.read_constitution(path)
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
    if not _uses_shipped_rules(spec) and "{number}" not in templates.rule:
        return given
    if faults := find_wrong_citations([(e.id, e.thought) for e in given], constitution, _uses_shipped_rules(spec)):
        raise SpecError(
            "options.self_align.exemplars: they name rules that the constitution does not have",
            faults,
            "Write exemplars whose thoughts name your rules by number and name, or show none: `exemplars: ''`.",
        )
    return given


def check_chain(steps: Sequence[Spec]) -> None:
    """Tells before a chain begins what ``fitting`` would tell at a later step, where that begins with rules that
    IterAlign proposed. Raises SpecError."""
    for number, spec in enumerate(steps):
        earlier = [step.method for step in steps[:number] if step.method in (*PRINCIPLE_METHODS, "iteralign")]
        if spec.constitution or "iteralign" not in earlier:
            continue
        if load_exemplars(
            spec, role_models.build_templates(spec, role_models.load_world(spec))
        ) and _uses_shipped_rules(spec):
            raise SpecError(
                f"steps.{number}: the shipped exemplars name the shipped rules, and iteralign leaves rules of its own",
                cure="Set `options.self_align.exemplars: ''` there, or `constitution: shipped`.",
            )


def _uses_shipped_rules(spec: Spec) -> bool:
    return spec.options.self_align.exemplars == "shipped"


def resolve_tuning_base(spec: Spec) -> ModelRef | None:
    """The model to be tuned in the target's place, where the spec names one. Raises EngineError."""
    asked = spec.options.cai.pretrained
    if spec.method != "cai" or not asked:
        return None
    from charter.models.weights import resolve_model

    return resolve_model(asked, "", offline=spec.offline, remote_code=spec.target.remote_code)


def _build_instructions(assembly: Components, guard: Any) -> Any:
    spec = assembly.spec
    taken = spec.continue_from is not None and spec.continue_from.inherit == "prompts"
    if spec.method not in METHODS_ON_GENERATED or spec.options.self_align.prompts == "source" or taken:
        return None
    return build_instructions(spec, assembly.world, assembly.templates, guard)


def forecast_principles(assembly: Components, taken: tuple[int, int], sizes: Mapping[str, int]) -> dict[str, Any]:
    """What such a method would ask for at most. ``taken``: prompts of a batch, and those that the step before wrote."""
    spec, given, (batch, before) = assembly.spec, build_inputs(assembly), taken
    instructed = given.principles.instructions
    written = max_calls(instructed) if instructed is not None else {}
    batch = 0 if spec.method == "engrave" else batch
    hard = batch + (
        max_prompts(instructed) if instructed is not None else before * (spec.method in METHODS_ON_GENERATED)
    )
    calls = max_oracle_calls(spec, batch, hard)
    if spec.options.instruct.generator == "proposer":
        calls["self-instruct"] = sum(written.values())
    scored = 0 if spec.method == "think" else 2 * (sizes["heldout"] + sizes["gate"])
    return {
        "method": spec.method,
        "start": assembly.start.base,
        "principles": len(given.constitution.active),
        "exemplars": len(given.principles.exemplars),
        **({"rows_of_files": len(given.principles.rows)} if spec.method in METHODS_ON_GIVEN_ROWS else {}),
        "prompts": {"redteam": batch, "helpful": len(given.helpful), **sizes},
        "calls_of_self_instruct": sum(written.values()),
        "oracle_calls_at_most": sum(calls.values()),
        "oracle_calls": calls,
        "budget": spec.budget.model_dump(),
        "answers_to_generate_at_most": _max_answers(spec, batch, hard) + scored,
    }


def max_oracle_calls(spec: Spec, batch: int, hard: int) -> dict[str, int]:
    """Calls of judge and proposer at most, by purpose. ``hard``: prompts whose answers are judged by conduct, those of
    the batch and those that self-instruct wrote. Every vote counts with its retries; a proposer that writes longer
    lists than it was asked for is not foreseen."""
    options, answering, plainly = (
        spec.options,
        spec.method in METHODS_ON_GENERATED,
        spec.method not in METHODS_WITHOUT_RULES,
    )
    asked = options.judge.votes * (options.judge.retries + 1)
    checked = _answer_passes(spec) if options.keep.verify else 0
    alike = _max_lookalikes(spec, batch)
    rechecks, plain = hard * checked, batch * plainly
    if spec.method != "cai":
        plain *= bool(options.contrast.count or options.replay.complied)
    else:
        plain *= bool(options.cai.revise == "findings" or options.contrast.count or options.replay.complied)
        rechecks = batch * (options.cai.rounds if options.cai.until == "complies" else checked)
    samples = options.cai.samples if spec.method == "cai" else 1
    rehearsed = ((alike if options.replay.lookalikes else 0) + options.replay.fresh) * samples
    ordinary = alike + options.self_align.ordinary if answering and options.self_align.prompts != "instruct" else 0
    return {
        "verdicts": plain * asked,
        "look-alikes": alike,
        "rechecks": rechecks * asked,
        "second rubric": hard * checked * asked,
        "replay checks": rehearsed * options.keep.verify * asked,
        "ordinary answers": ordinary * checked * asked,
    }


def _answer_passes(spec: Spec) -> int:
    """How often all prompts are answered for rows."""
    return 0 if spec.method == "engrave" else 1 + (spec.method == "self_align" and spec.options.self_align.clone)


def _max_lookalikes(spec: Spec, batch: int) -> int:
    """Look-alikes at most: no cluster gets more than it has failures."""
    return batch * bool(spec.options.contrast.count and spec.method not in METHODS_WITHOUT_RULES)


def _max_answers(spec: Spec, batch: int, hard: int) -> int:
    """Answers of the target at most, scores aside."""
    options, alike, plain = (
        spec.options,
        _max_lookalikes(spec, batch),
        batch * (spec.method not in METHODS_WITHOUT_RULES),
    )
    replayed = alike + options.replay.fresh
    if spec.method == "cai":
        return batch * (1 + 2 * options.cai.rounds) + replayed * options.cai.samples
    return plain + _answer_passes(spec) * (hard + alike + options.self_align.ordinary) + replayed
