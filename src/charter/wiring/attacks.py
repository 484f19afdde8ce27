"""From a spec to attacks: their adapters by style, and what a style that training never sees is measured on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from charter.errors import SpecError
from charter.nouns import Step
from charter.ports import Attack, Choice, Engine
from charter.spec import Spec
from charter.templates import Templates
from charter.wiring.prompts import PromptSets

if TYPE_CHECKING:
    from charter.organism.world import World

ASKED = ("translation", "escalation", "invention")
"""Styles that the attacker writes."""


def wordings(world: World | None) -> dict[str, str]:
    """Wordings by style: the general ones, and a test world's own in their place."""
    from charter.attacks.wrapped import WORDINGS

    return {**WORDINGS, **(world.attacks if world is not None else {})}


def known(world: World | None) -> tuple[str, ...]:
    """Every style that there is."""
    from charter.attacks.encoded import ENCODINGS

    return (*wordings(world), *ENCODINGS, *ASKED)


def check(spec: Spec, world: World | None) -> None:
    """Raises SpecError where a style is unknown or lacks its attacker."""
    there = known(world)
    styles = spec.options.attack.styles
    faults = [f"options.attack.styles: there is no style {style!r}" for style in styles if style not in there]
    if spec.attacker is None:
        faults += [f"attacker: the style {style} needs one" for style in styles if style in ASKED]
    elif spec.attacker.model == "world":
        faults += ["attacker.model: a test world's oracle writes no attacks"]
    if len(set(styles)) < len(styles) or not styles:
        faults += ["options.attack.styles: name at least one style, and each once"]
    if faults:
        raise SpecError("the attacks are not valid", tuple(faults), f"There are: {', '.join(there)}.")


def attacks(spec: Spec, world: World | None, attacker: Engine | None, templates: Templates) -> dict[str, Attack]:
    """Every style that training may use, in the spec's order."""
    kept_out = spec.prompts.keep_out.attack
    return made(spec, world, attacker, templates, (s for s in spec.options.attack.styles if s != kept_out))


def made(
    spec: Spec, world: World | None, attacker: Engine | None, templates: Templates, styles: Iterable[str]
) -> dict[str, Attack]:
    """The attacks of these styles, in their order."""
    from charter.attacks.asked import Escalation, Invention, Translation
    from charter.attacks.encoded import ENCODINGS, EncodedAttack
    from charter.attacks.wrapped import WrappedAttack

    options, worded = spec.options.attack, wordings(world)
    found: dict[str, Attack] = {}
    for style in styles:
        if style in worded:
            found[style] = WrappedAttack(style, worded[style])
        elif style in ENCODINGS:
            found[style] = EncodedAttack(style)
        else:
            assert attacker is not None
            if style == "translation":
                found[style] = Translation(style, attacker, templates, options.languages)
            elif style == "escalation":
                found[style] = Escalation(style, attacker, templates, options.turns)
            else:
                found[style] = Invention(style, attacker, templates)
    return found


def fixed(spec: Spec, world: World | None, styles: Sequence[str] | None) -> dict[str, Attack]:
    """Attacks whose words are fixed, so that a battery can hold them: the ``styles`` named, or (None) the world's own
    and otherwise the shipped wordings. Raises SpecError for a style that is unknown or that the attacker writes."""
    from charter.attacks.encoded import ENCODINGS

    own = wordings(None) if world is None else world.attacks
    wanted = [style for style in own if style != "plain"] if styles is None else styles
    known = (*wordings(world), *ENCODINGS)
    if faults := tuple(f"audit.styles: {style} is no style of fixed words" for style in wanted if style not in known):
        raise SpecError("the attacks are not valid", faults, f"There are: {', '.join(known)}.")
    return made(spec, world, None, Templates(), wanted)


def generalised(spec: Spec, world: World | None, sets: PromptSets, templates: Templates) -> PromptSets:
    """The sets with every held-out red-team prompt asked once more in the style that training never sees, where that is
    one of the spec's styles and the evaluator is a model. Raises SpecError for a style that the attacker writes."""
    from charter.stages.attempts import attempted

    style = spec.prompts.keep_out.attack
    if style not in spec.options.attack.styles or spec.evaluator == "world" or style == "plain":
        return sets
    if style in ASKED:
        raise SpecError(
            f"prompts.keep_out.attack: {style} is written by the attacker, anew in each run",
            cure="Keep out a style of fixed wording, or an encoding.",
        )
    attack = made(spec, world, None, templates, [style])[style]
    plain = [p for p in sets.redteam["heldout"] if p.id not in sets.novel]
    choices = {p.id: Choice(id=p.id, style=style, region="", prompt=p) for p in plain}
    attempts = attack.attack(list(choices.values()), (), Step("heldout", 0))
    further = [attempted(choices[attempt.id], attempt) for attempt in attempts]
    return replace(
        sets,
        redteam={**sets.redteam, "heldout": [*sets.redteam["heldout"], *further]},
        novel=sets.novel | {p.id for p in further},
    )
