"""Where preferences come from, a part of methods: answers compared by people, a judge or the policy; and replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from charter.constitution import Constitution
from charter.handover import Handover
from charter.judging.comparing import both_orders
from charter.judging.records import Pair
from charter.judging.rewarding import JudgeRewarder
from charter.judging.rubrics import CONDUCT, Rubric
from charter.nouns import Example, ModelRef, Preferred, Prompt, Sampling
from charter.ports import Rewarder, Roles
from charter.run import Steps
from charter.similarity import Guard
from charter.spec import Options
from charter.stages.clustering import cluster
from charter.stages.contrast import contrast
from charter.stages.curate import Sifting
from charter.stages.guards import (
    reward,
)
from charter.stages.judging import judge, violations
from charter.stages.pairs import (
    MODEL,
    again,
    agreed,
    by_people,
    candidates,
    checked,
    copies,
    enough,
    learnt,
    position,
    prefer,
    prefer_by_model,
    some,
    sorting,
    told_by,
    usable,
)
from charter.stages.practice import gathered, rehearsed
from charter.stages.probe import probe
from charter.stages.reflect import critique, revise
from charter.templates import Templates


@dataclass(frozen=True)
class Lessons:
    """What is learnt from, with what, and how. ``pairs``: what people preferred, where they did;
    ``constitution``: what pairs are compared under."""

    start: ModelRef
    redteam: Sequence[Prompt]
    helpful: Sequence[Prompt]
    guard: Guard
    near: float
    templates: Templates
    answers: Sampling
    options: Options
    rubric: Rubric = CONDUCT
    given: Handover | None = None
    pairs: Sequence[Pair] = ()
    constitution: Constitution = field(default_factory=Constitution)
    sifting: Sifting | None = None


@dataclass(frozen=True)
class Preferences:
    """Pairs to learn from, and to check on; lessons that are replayed beside; prompts to practise on; and what tells
    the worth of an answer, once it is there."""

    learn: Sequence[Preferred]
    check: Sequence[Preferred]
    replay: Sequence[Example]
    prompts: Sequence[Prompt]
    rewarder: Rewarder | None = None


def preferences(
    run: Steps,
    policy: ModelRef,
    constitution: Constitution,
    prompts: tuple[Sequence[Prompt], Sequence[Prompt]],
    roles: Roles,
    task: Lessons,
) -> Preferences:
    """Pairs from people, from the judge or from the policy itself; sorted and split; and replay."""
    asked, judging = task.options.learn.pairs, task.options.judge
    redteam = run.once("asked_redteam", some, prompts[0], asked.prompts)
    helpful = run.once("asked_helpful", some, prompts[1], asked.prompts)
    benign = alike(run, policy, redteam, roles, task)
    benign = [*benign, *helpful]
    chosen = run.once("asked", gathered, redteam, benign)
    place, people = None, None
    if asked.by == "people":
        people = run.once("raters", told_by, task.pairs)
        said = run.once("preferred", by_people, task.pairs)
    else:
        orders = both_orders(compared(run, policy, constitution, (chosen, benign), roles, task))
        if asked.by == "judge":
            answers = run.map("preferences", prefer, orders, roles.judge, constitution, task.templates, judging)
            rater = roles.judge.identity
        else:
            with roles.target(policy) as target:
                answers = run.map("preferences", prefer_by_model, orders, target, constitution, task.templates)
            rater = MODEL
        place = run.once("position", position, orders, answers)
        said = run.once("preferred", agreed, orders, answers, rater)
    kept = run.once("usable", usable, said, task.guard, asked)
    enough(run.once("sorted", sorting, said, task.guard, asked, task.near, people), place)
    learn, check = run.once("learnt", learnt, kept, task.near), run.once("checked", checked, kept, task.near)
    before = task.given.replayed if task.given is not None else ()
    fresh = rehearse(run, policy, chosen, roles, task) if task.options.learn.replays else []
    replay = list({row.id: row for row in (*before, *fresh)}.values())
    return Preferences(learn, check, replay, chosen)


def alike(run: Steps, policy: ModelRef, prompts: Sequence[Prompt], roles: Roles, task: Lessons) -> list[Prompt]:
    """Benign prompts in the form of those that the policy fails on, so that what is learnt is the rule, and no refusal
    of the form."""
    options, texts = task.options, task.templates
    if not options.contrast.count:
        return []
    with roles.target(policy) as target:
        exchanges = run.map("exchanges", probe, prompts, target, task.answers)
    verdicts = run.map("verdicts", judge, exchanges, roles.judge, task.rubric, texts, options.judge)
    findings = run.once("findings", violations, exchanges, verdicts)
    clusters = run.once("clusters", cluster, findings, options.cluster)
    wanted = (options.contrast, options.cluster)
    found = run.map("lookalikes", contrast, clusters, roles.proposer, task.guard, texts, wanted)
    return list({p.id: p for lookalikes in found for p in lookalikes.prompts}.values())


def compared(
    run: Steps,
    policy: ModelRef,
    constitution: Constitution,
    prompts: tuple[Sequence[Prompt], Sequence[Prompt]],
    roles: Roles,
    task: Lessons,
) -> list[Pair]:
    """Two answers to one prompt, from what the policy draws and what it answers under the constitution. ``prompts``:
    all, and the benign ones among them."""
    asked = task.options.learn.pairs
    many = run.once("copies", copies, prompts[0], asked.draws)
    warm = task.answers.model_copy(update={"temperature": asked.temperature})
    direct = task.options.reflect.model_copy(update={"turns": "direct"})
    with roles.target(policy) as target:
        drawn = run.map("drawn", probe, many, target, warm)
        revisions = []
        if asked.under_rules and constitution.active:
            trials = run.once("again", again, drawn)
            how = (direct, task.answers)
            thoughts = run.map("critiques", critique, trials, target, constitution, task.templates, how)
            revisions = run.map("revisions", revise, trials, thoughts, target, constitution, task.templates, how)
    return run.once("pairs", candidates, drawn, revisions, prompts[1], asked)


def rehearse(run: Steps, policy: ModelRef, prompts: Sequence[Prompt], roles: Roles, task: Lessons) -> list[Example]:
    """Good answers of the starting policy, by the judge."""
    asked = run.once("rehearsals", some, prompts, task.options.learn.replays)
    with roles.target(policy) as target:
        answers = run.map("answers", probe, asked, target, task.answers)
    checks = run.map("answer_rewards", reward, answers, judging(roles, task))
    return run.once("replay", rehearsed, answers, checks)


def judging(roles: Roles, task: Lessons) -> JudgeRewarder:
    """The judge as what rewards."""
    return JudgeRewarder(roles.judge, task.rubric, task.templates, task.options.judge)
