"""Red teaming beside the plain draws: attempts in many styles, spent by a bandit, in rounds. A part of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from charter.constitution.document import Constitution
from charter.judging.rubrics import Rubric
from charter.ports import Attack, AttackTarget, Attempt, Engine, Roles
from charter.records.chat import Exchange, Prompt, Sampling
from charter.records.verdicts import Finding, Verdict
from charter.run import Steps
from charter.similarity.splits import LeakageFilter
from charter.spec import AttackSpec, JudgingSpec, MethodOptions
from charter.stages.attempts import attack, continue_conversations, filter_attempts, open_conversations, prompts_to_ask
from charter.stages.bandit import (
    GroupMember,
    Pull,
    Region,
    assign_groups,
    choose_attacks,
    eligible_prompts,
    group_prompts,
    record_plain_pulls,
    record_pulls,
    reward_pulls,
    update_arms,
)
from charter.stages.judge import judge, select_violations
from charter.stages.probe import probe
from charter.templates import Templates


@dataclass(frozen=True)
class PromptPool:
    """Where attempts are made: the train prompts in their order, the regions of them, how many are ``drawn`` plainly so
    far, and how many plain draws can ever ``reach``."""

    prompts: Sequence[Prompt] = ()
    regions: Sequence[Region] = ()
    drawn_count: int = 0
    max_drawn: int = 0


@dataclass(frozen=True)
class AttackConfig:
    """With what they are made."""

    guard: LeakageFilter
    rubric: Rubric
    templates: Templates
    answers: Sampling
    attack: AttackSpec
    judge: JudgingSpec


@dataclass(frozen=True)
class AttackLog:
    """What attempts brought: those of this iteration, and for the bandit all pulls and findings of the run."""

    exchanges: tuple[Exchange, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    pulls: tuple[Pull, ...] = ()
    findings: tuple[Finding, ...] = ()
    members: tuple[GroupMember, ...] = ()


def build_prompt_pool(run: Steps, prompts: Sequence[Prompt], options: MethodOptions) -> PromptPool:
    """The regions of a run's train prompts; none where nothing is attempted."""
    if options.attack.is_idle:
        return PromptPool()
    reach = options.draw.batch + options.draw.later * (options.stop.iterations - 1)
    return PromptPool(prompts, run.once("regions", group_prompts, prompts, options.attack), max_drawn=reach)


def run_attack_rounds(
    run: Steps,
    history: tuple[AttackLog, Constitution],
    where: PromptPool,
    plain: tuple[Sequence[Exchange], Sequence[Verdict], Engine],
    roles: Roles,
    means: AttackConfig,
) -> AttackLog:
    """The attempts of an iteration: in each round what is known, what is chosen, and what comes of it. ``plain``: the
    plain draws with their verdicts, and the target."""
    options, (before, constitution), (exchanges, verdicts, target) = means.attack, history, plain
    if options.is_idle or not roles.attacks:
        return AttackLog()
    styles, open_to = tuple(roles.attacks), eligible_prompts(where.prompts, where.drawn_count, where.max_drawn)
    found = run.once("plain_findings", select_violations, exchanges, verdicts)
    drawn = run.once("plain_pulls", record_plain_pulls, exchanges, found, where.regions)
    tries = AttackLog((), (), (*before.pulls, *drawn), (*before.findings, *found), before.members)
    for number, size in enumerate(options.round_sizes, 1):
        name = f"round{number}"
        grouped = run.once(f"{name}_members", assign_groups, tries.findings, tries.members, options)
        counted = run.once(f"{name}_rewards", reward_pulls, tries.pulls, grouped, constitution, options)
        known = run.once(f"{name}_arms", update_arms, where.regions, styles, counted, options)
        spend = (options, size)
        choices = run.once(f"{name}_choices", choose_attacks, known, where.regions, open_to, tries.pulls, spend)
        attempts = run_multi_turn(run, name, (choices, tries.findings, target), roles.attacks, means.answers)
        met = [*(p.id for p in where.prompts), *(pull.attempt for pull in tries.pulls)]
        tests = run.once(f"{name}_tried", filter_attempts, choices, attempts, met, means.guard)
        exchanges = run.map(f"{name}_exchanges", probe, prompts_to_ask(tests), target, means.answers)
        verdicts = run.map(
            f"{name}_verdicts", judge, exchanges, roles.judge, means.rubric, means.templates, means.judge
        )
        found = run.once(f"{name}_findings", select_violations, exchanges, verdicts)
        pulled = run.once(f"{name}_pulls", record_pulls, choices, tests, found)
        tries = AttackLog(
            (*tries.exchanges, *exchanges),
            (*tries.verdicts, *verdicts),
            (*tries.pulls, *pulled),
            (*tries.findings, *found),
            tuple(grouped),
        )
    return tries


def run_multi_turn(
    run: Steps,
    name: str,
    given: tuple[Sequence[AttackTarget], Sequence[Finding], Engine],
    attacks: Mapping[str, Attack],
    answers: Sampling,
) -> list[Attempt]:
    """The attempts of a round; those that take several turns go on with what the target says to them."""
    choices, worked, target = given
    attempts = run.map(f"{name}_attempts", attack, choices, attacks, worked)
    last = {a.id: a for a in attempts}
    for turn in range(1, max((attacks[c.style].turns for c in choices), default=1)):
        begun = run.once(f"{name}_opened{turn}", open_conversations, choices, attempts, attacks, turn)
        replies = run.map(f"{name}_replies{turn}", probe, begun, target, answers)
        further = run.once(f"{name}_continued{turn}", continue_conversations, choices, replies)
        attempts = run.map(f"{name}_attempts{turn + 1}", attack, further, attacks, worked)
        last |= {a.id: a for a in attempts}
    return list(last.values())
