"""Which prompts a run draws, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from charter.errors import SpecError
from charter.nouns import Prompt, Step
from charter.similarity import Guard
from charter.spec import Draw


def disjoint(prompts: Sequence[Prompt], guard: Guard, *, step: Step) -> list[Prompt]:
    """Training prompts less those close to a gate or held-out prompt. Raises SpecError where an id occurs twice."""
    del step
    twice = [key for key, count in Counter(p.id for p in prompts).items() if count > 1]
    if twice:
        raise SpecError(f"prompt ids occur twice: {twice[:3]}", cure="Give each prompt an id of its own.")
    return guard.clear(prompts)


def draw(prompts: Sequence[Prompt], guard: Guard, options: Draw, *, step: Step) -> list[Prompt]:
    """What the run draws from, in its order: ``uniform`` is a permutation seeded by the run, ``file`` the order
    given."""
    ordered = disjoint(prompts, guard, step=step)
    if options.order == "uniform":
        step.random("order").shuffle(ordered)
    return ordered
