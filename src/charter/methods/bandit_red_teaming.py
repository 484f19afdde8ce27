"""Red teaming beside the plain draws: attempts in many styles, spent by a bandit, in rounds. A part of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from charter.constitution.document import Constitution
from charter.methods.inputs import Inputs
from charter.ports import Attack, AttackTarget, Attempt, Engine, Roles
from charter.records.chat import Exchange, Prompt, Sampling
from charter.records.verdicts import Finding, Verdict
from charter.runs import NextStep, Steps
from charter.spec import MethodOptions
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


@dataclass(frozen=True)
class PromptPool:
    """Where attempts are made: the train prompts in their order, the regions of them, how many are ``drawn`` plainly so
    far, and how many plain draws can ever ``reach``."""

    prompts: Sequence[Prompt] = ()
    regions: Sequence[Region] = ()
    drawn_count: int = 0
    max_drawn: int = 0


@dataclass(frozen=True)
class AttackLog:
    """What attempts brought: those of this iteration, and for the bandit all pulls and findings of the run."""

    exchanges: tuple[Exchange, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    pulls: tuple[Pull, ...] = ()
    findings: tuple[Finding, ...] = ()
    members: tuple[GroupMember, ...] = ()

    @property
    def violations(self) -> int:
        """How many of the attempts of this iteration violate."""
        return sum(v.outcome == "violates" for v in self.verdicts)


@dataclass(frozen=True)
class AttackKnowledge:
    """What is known when the attempts of an iteration begin: earlier ones, the rules, and where may be attacked."""

    log: AttackLog
    constitution: Constitution
    pool: PromptPool


@dataclass(frozen=True)
class PlainAnswers:
    """The target, with what it answered to the plain draws and the verdicts on that."""

    target: Engine
    exchanges: Sequence[Exchange]
    verdicts: Sequence[Verdict]


@dataclass(frozen=True)
class AttackSetup:
    """Who is attacked, by what, and how its answers are sampled."""

    target: Engine
    attacks: Mapping[str, Attack]
    answers: Sampling


def build_prompt_pool(run: Steps, prompts: Sequence[Prompt], options: MethodOptions) -> PromptPool:
    """The regions of a run's train prompts; none where nothing is attempted."""
    if options.attack.is_idle:
        return PromptPool()
    reach = options.draw.batch + options.draw.later * (options.stop.iterations - 1)
    regions = run.once("regions", group_prompts, prompts, options.attack)
    return PromptPool(prompts, regions, max_drawn=reach)


def run_attack_rounds(
    run: Steps, known: AttackKnowledge, plain: PlainAnswers, roles: Roles, inputs: Inputs
) -> AttackLog:
    """The attempts of an iteration, in rounds. Nothing where the spec asks for none."""
    options, pool, before = inputs.options.attack, known.pool, known.log
    if options.is_idle or not roles.attacks:
        return AttackLog()
    plain_findings = run.once("plain_findings", select_violations, plain.exchanges, plain.verdicts)
    plain_pulls = run.once("plain_pulls", record_plain_pulls, plain.exchanges, plain_findings, pool.regions)
    log = AttackLog(
        pulls=(*before.pulls, *plain_pulls), findings=(*before.findings, *plain_findings), members=before.members
    )
    setup = AttackSetup(plain.target, roles.attacks, inputs.answers)
    for number, size in enumerate(options.round_sizes, 1):
        now = AttackKnowledge(log, known.constitution, pool)
        log = run_attack_round(run, f"round{number}_", size, now, setup, JudgedBy(roles.judge, inputs))
    return log


@dataclass(frozen=True)
class JudgedBy:
    """Who judges the attempts, with what the method is given."""

    judge: Engine
    inputs: Inputs


def run_attack_round(
    run: Steps, prefix: str, size: int, known: AttackKnowledge, setup: AttackSetup, by: JudgedBy
) -> AttackLog:
    """A round of ``size`` attempts: what is known, what is chosen, and what comes of it."""
    log, pool, options, guard = known.log, known.pool, by.inputs.options.attack, by.inputs.guard
    members = run.once(f"{prefix}members", assign_groups, log.findings, log.members, options)
    rewards = run.once(f"{prefix}rewards", reward_pulls, log.pulls, members, known.constitution, options)
    arms = run.once(f"{prefix}arms", update_arms, pool.regions, tuple(setup.attacks), rewards, options)
    eligible = eligible_prompts(pool.prompts, pool.drawn_count, pool.max_drawn)
    choices = run.once(f"{prefix}choices", choose_attacks, arms, pool.regions, eligible, log.pulls, options, size)
    attempts = run_multi_turn(run, prefix, choices, log.findings, setup)
    met = [*(p.id for p in pool.prompts), *(pull.attempt for pull in log.pulls)]
    tried = run.once(f"{prefix}tried", filter_attempts, choices, attempts, met, guard)
    judging = NextStep(f"{prefix}verdicts", judge, by.judge, *by.inputs.judge_arguments())
    exchanges = run.map(f"{prefix}exchanges", probe, prompts_to_ask(tried), setup.target, setup.answers, then=judging)
    verdicts = run.map_next(judging, exchanges)
    findings = run.once(f"{prefix}findings", select_violations, exchanges, verdicts)
    pulls = run.once(f"{prefix}pulls", record_pulls, choices, tried, findings)
    return AttackLog(
        (*log.exchanges, *exchanges),
        (*log.verdicts, *verdicts),
        (*log.pulls, *pulls),
        (*log.findings, *findings),
        tuple(members),
    )


def run_multi_turn(
    run: Steps, prefix: str, choices: Sequence[AttackTarget], worked: Sequence[Finding], setup: AttackSetup
) -> list[Attempt]:
    """The attempts of a round; those that take several turns go on with what the target says to them."""
    attacks = setup.attacks
    attempts = run.map(f"{prefix}attempts", attack, choices, attacks, worked)
    last = {a.id: a for a in attempts}
    for turn in range(1, max((attacks[c.style].turns for c in choices), default=1)):
        opened = run.once(f"{prefix}opened{turn}", open_conversations, choices, attempts, attacks, turn)
        replies = run.map(f"{prefix}replies{turn}", probe, opened, setup.target, setup.answers)
        continued = run.once(f"{prefix}continued{turn}", continue_conversations, choices, replies)
        attempts = run.map(f"{prefix}attempts{turn + 1}", attack, continued, attacks, worked)
        last |= {a.id: a for a in attempts}
    return list(last.values())
