"""Which prompts a run draws, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from charter.errors import SpecError
from charter.records.chat import Prompt
from charter.records.record import Step
from charter.similarity.splits import LeakageFilter
from charter.spec import DrawSpec


def exclude_protected(prompts: Sequence[Prompt], guard: LeakageFilter) -> list[Prompt]:
    """Training prompts less those close to a gate or held-out prompt. Raises SpecError where an id occurs twice."""
    twice = [key for key, count in Counter(p.id for p in prompts).items() if count > 1]
    if twice:
        raise SpecError(f"prompt ids occur twice: {twice[:3]}", cure="Give each prompt an id of its own.")
    return guard.remove_leaked(prompts)


def draw(prompts: Sequence[Prompt], guard: LeakageFilter, options: DrawSpec, *, step: Step) -> list[Prompt]:
    """What the run draws from, in its order: ``uniform`` is a permutation seeded by the run, ``file`` the order
    given. Prompts of the source ``first`` come before the others."""
    ordered = exclude_protected(prompts, guard)
    if options.order == "uniform":
        step.random("order").shuffle(ordered)
    return sorted(ordered, key=lambda p: p.source != options.first) if options.first else ordered
