"""From a spec to attacks: their adapters by style, and what a style that training never sees is measured on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from charter.errors import SpecError
from charter.ports import Attack, AttackTarget, Engine
from charter.records.record import Step
from charter.records.templates import Templates
from charter.spec import Spec
from charter.wiring.plugins import is_plugin, load_object
from charter.wiring.prompt_sets import PromptSets

if TYPE_CHECKING:
    from charter.organism.world import World

MODEL_WRITTEN = ("translation", "escalation", "invention")
"""Styles that the attacker writes."""


def wordings_by_style(world: World | None) -> dict[str, str]:
    """Wordings by style: the general ones, and a test world's own in their place."""
    from charter.attacks.jailbreak_templates import JAILBREAK_TEMPLATES

    return {**JAILBREAK_TEMPLATES, **(world.attacks if world is not None else {})}


def known_styles(world: World | None) -> tuple[str, ...]:
    """Every style that there is."""
    from charter.attacks.encodings import ENCODINGS

    return (*wordings_by_style(world), *ENCODINGS, *MODEL_WRITTEN)


def check_styles(spec: Spec, world: World | None) -> None:
    """Raises SpecError where a style is unknown or lacks its attacker."""
    there = known_styles(world)
    styles = spec.options.attack.styles
    faults = [
        f"options.attack.styles: there is no style {style!r}"
        for style in styles
        if style not in there and not is_plugin(style)
    ]
    if spec.attacker is None:
        faults += [f"attacker: the style {style} needs one" for style in styles if style in MODEL_WRITTEN]
    elif spec.attacker.model == "world":
        faults += ["attacker.model: a test world's oracle writes no attacks"]
    if len(set(styles)) < len(styles) or not styles:
        faults += ["options.attack.styles: name at least one style, and each once"]
    if faults:
        raise SpecError("the attacks are not valid", tuple(faults), f"There are: {', '.join(there)}.")
    for style in filter(is_plugin, styles):
        load_object(style, Attack)


def build_train_attacks(
    spec: Spec, world: World | None, attacker: Engine | None, templates: Templates
) -> dict[str, Attack]:
    """Every style that training may use, in the spec's order."""
    kept_out = spec.prompts.keep_out.attack
    return build_attacks(spec, world, attacker, templates, (s for s in spec.options.attack.styles if s != kept_out))


def build_attacks(
    spec: Spec, world: World | None, attacker: Engine | None, templates: Templates, styles: Iterable[str]
) -> dict[str, Attack]:
    """The attacks of these styles, in their order."""
    from charter.attacks.encodings import ENCODINGS, EncodedAttack
    from charter.attacks.jailbreak_templates import TemplateAttack
    from charter.attacks.model_written import EscalationAttack, InventionAttack, TranslationAttack

    options, worded = spec.options.attack, wordings_by_style(world)
    found: dict[str, Attack] = {}
    for style in styles:
        if is_plugin(style):
            found[style] = load_object(style, Attack)
        elif style in worded:
            found[style] = TemplateAttack(style, worded[style])
        elif style in ENCODINGS:
            found[style] = EncodedAttack(style)
        else:
            assert attacker is not None
            if style == "translation":
                found[style] = TranslationAttack(style, attacker, templates, options.languages)
            elif style == "escalation":
                found[style] = EscalationAttack(style, attacker, templates, options.turns)
            else:
                found[style] = InventionAttack(style, attacker, templates)
    return found


def build_fixed_attacks(spec: Spec, world: World | None, styles: Sequence[str] | None) -> dict[str, Attack]:
    """Attacks whose words are fixed, so that a battery can hold them: the ``styles`` named, or (None) the world's own
    and otherwise the shipped wordings. Raises SpecError for a style that is unknown or that the attacker writes."""
    from charter.attacks.encodings import ENCODINGS

    own = wordings_by_style(None) if world is None else world.attacks
    wanted = [style for style in own if style != "plain"] if styles is None else styles
    known = (*wordings_by_style(world), *ENCODINGS)
    if faults := tuple(f"audit.styles: {style} is no style of fixed words" for style in wanted if style not in known):
        raise SpecError("the attacks are not valid", faults, f"There are: {', '.join(known)}.")
    return build_attacks(spec, world, None, Templates(), wanted)


def add_heldout_style(spec: Spec, world: World | None, sets: PromptSets, templates: Templates) -> PromptSets:
    """The sets with every held-out red-team prompt asked once more in the style that training never sees, where that is
    one of the spec's styles and the evaluator is a model. Raises SpecError for a style that the attacker writes."""
    from charter.stages.attempts import attempt_to_prompt

    style = spec.prompts.keep_out.attack
    if style not in spec.options.attack.styles or spec.evaluator == "world" or style == "plain":
        return sets
    if style in MODEL_WRITTEN:
        raise SpecError(
            f"prompts.keep_out.attack: {style} is written by the attacker, anew in each run",
            cure="Keep out a style of fixed wording, or an encoding.",
        )
    attack = build_attacks(spec, world, None, templates, [style])[style]
    plain = [p for p in sets.redteam["heldout"] if p.id not in sets.novel]
    choices = {p.id: AttackTarget(id=p.id, style=style, region="", prompt=p) for p in plain}
    attempts = attack.attack(list(choices.values()), (), Step("heldout", 0))
    further = [attempt_to_prompt(choices[attempt.id], attempt) for attempt in attempts]
    return replace(
        sets,
        redteam={**sets.redteam, "heldout": [*sets.redteam["heldout"], *further]},
        novel=sets.novel | {p.id for p in further},
    )
