"""Red teaming beside the plain draws: attempts in many styles, spent by a bandit, in rounds. A part of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from charter.constitution import Constitution
from charter.judging.rubrics import Rubric
from charter.nouns import Exchange, Finding, Prompt, Sampling, Verdict
from charter.ports import Attack, Attempt, Choice, Engine, Roles
from charter.run import Steps
from charter.similarity import Guard
from charter.spec import Attacking, Judging, Options
from charter.stages.attempts import asked, attack, continued, opened, tried
from charter.stages.bandit import (
    Member,
    Pull,
    Region,
    arms,
    choose,
    members,
    parents,
    plain_pulls,
    pulls,
    regions,
    rewards,
)
from charter.stages.judging import judge, violations
from charter.stages.probe import probe
from charter.templates import Templates


@dataclass(frozen=True)
class Ground:
    """Where attempts are made: the train prompts in their order, the regions of them, how many are ``drawn`` plainly so
    far, and how many plain draws can ever ``reach``."""

    prompts: Sequence[Prompt] = ()
    regions: Sequence[Region] = ()
    drawn: int = 0
    reach: int = 0


@dataclass(frozen=True)
class Means:
    """With what they are made."""

    guard: Guard
    rubric: Rubric
    templates: Templates
    answers: Sampling
    attack: Attacking
    judge: Judging


@dataclass(frozen=True)
class Tries:
    """What attempts brought: those of this iteration, and for the bandit all pulls and findings of the run."""

    exchanges: tuple[Exchange, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    pulls: tuple[Pull, ...] = ()
    found: tuple[Finding, ...] = ()
    members: tuple[Member, ...] = ()


def ground(run: Steps, prompts: Sequence[Prompt], options: Options) -> Ground:
    """The regions of a run's train prompts; none where nothing is attempted."""
    if options.attack.idle:
        return Ground()
    reach = options.draw.batch + options.draw.later * (options.stop.iterations - 1)
    return Ground(prompts, run.once("regions", regions, prompts, options.attack), reach=reach)


def redteam(
    run: Steps,
    history: tuple[Tries, Constitution],
    where: Ground,
    plain: tuple[Sequence[Exchange], Sequence[Verdict], Engine],
    roles: Roles,
    means: Means,
) -> Tries:
    """The attempts of an iteration: in each round what is known, what is chosen, and what comes of it. ``plain``: the
    plain draws with their verdicts, and the target."""
    options, (before, constitution), (exchanges, verdicts, target) = means.attack, history, plain
    if options.idle or not roles.attacks:
        return Tries()
    styles, open_to = tuple(roles.attacks), parents(where.prompts, where.drawn, where.reach)
    found = run.once("plain_findings", violations, exchanges, verdicts)
    drawn = run.once("plain_pulls", plain_pulls, exchanges, found, where.regions)
    tries = Tries((), (), (*before.pulls, *drawn), (*before.found, *found), before.members)
    for number, size in enumerate(options.sizes, 1):
        name = f"round{number}"
        grouped = run.once(f"{name}_members", members, tries.found, tries.members, options)
        counted = run.once(f"{name}_rewards", rewards, tries.pulls, grouped, constitution, options)
        known = run.once(f"{name}_arms", arms, where.regions, styles, counted, options)
        spend = (options, size)
        choices = run.once(f"{name}_choices", choose, known, where.regions, open_to, tries.pulls, spend)
        attempts = converse(run, name, (choices, tries.found, target), roles.attacks, means.answers)
        met = [*(p.id for p in where.prompts), *(pull.asked for pull in tries.pulls)]
        tests = run.once(f"{name}_tried", tried, choices, attempts, met, means.guard)
        exchanges = run.map(f"{name}_exchanges", probe, asked(tests), target, means.answers)
        verdicts = run.map(
            f"{name}_verdicts", judge, exchanges, roles.judge, means.rubric, means.templates, means.judge
        )
        found = run.once(f"{name}_findings", violations, exchanges, verdicts)
        pulled = run.once(f"{name}_pulls", pulls, choices, tests, found)
        tries = Tries(
            (*tries.exchanges, *exchanges),
            (*tries.verdicts, *verdicts),
            (*tries.pulls, *pulled),
            (*tries.found, *found),
            tuple(grouped),
        )
    return tries


def converse(
    run: Steps,
    name: str,
    given: tuple[Sequence[Choice], Sequence[Finding], Engine],
    attacks: Mapping[str, Attack],
    answers: Sampling,
) -> list[Attempt]:
    """The attempts of a round; those that take several turns go on with what the target says to them."""
    choices, worked, target = given
    attempts = run.map(f"{name}_attempts", attack, choices, attacks, worked)
    last = {a.id: a for a in attempts}
    for turn in range(1, max((attacks[c.style].turns for c in choices), default=1)):
        begun = run.once(f"{name}_opened{turn}", opened, choices, attempts, attacks, turn)
        replies = run.map(f"{name}_replies{turn}", probe, begun, target, answers)
        further = run.once(f"{name}_continued{turn}", continued, choices, replies)
        attempts = run.map(f"{name}_attempts{turn + 1}", attack, further, attacks, worked)
        last |= {a.id: a for a in attempts}
    return list(last.values())
