"""Rules that people decided on, as a world reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from charter.organism.world import World


def norm_verdict(world: World, text: str, norms: Sequence[tuple[bool, str]]) -> bool | None:
    """Whether the first norm (it holds, its text) that names what a prompt is about holds; None where none does.
    Ordinary questions are no matter of norms."""
    about = world.parse_prompt(text)
    if about.kind in (None, "benign"):
        return None
    name = about.topic if about.kind in ("lookalike", "borderline") else about.key
    named = (holds for holds, rule in norms if name in re.findall(r"[a-z]+", rule.lower()))
    return next(named, None)
