"""Learning from preferences, a part of methods: pairs, a reward model, practice in rounds, and what watches over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from charter.constitution import Constitution
from charter.handover import Handover
from charter.judging.comparing import both_orders
from charter.judging.learning import Guarded, Seen
from charter.judging.records import Pair
from charter.judging.rewarding import JudgeRewarder
from charter.judging.rubrics import CONDUCT, REFUSAL, Rubric
from charter.methods.exams import gated
from charter.nouns import Example, Exchange, Measurement, Metric, ModelRef, Preferred, Prompt, Sampling, Score, Split
from charter.ports import Learners, Rewarder, Roles
from charter.run import Run, Steps
from charter.similarity import Guard
from charter.spec import Options
from charter.stages.clustering import cluster
from charter.stages.contrast import contrast
from charter.stages.curate import Sifting
from charter.stages.evaluate import breakdown, measure, scores
from charter.stages.gates import gates
from charter.stages.guards import (
    answers_of,
    bare,
    decide,
    demonstrations,
    fit,
    guarded,
    likelihoods,
    reward,
    seen,
    trusted,
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
from charter.stages.practice import gathered, lessons, mixed, practise, rehearsed, taught
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
class Standing:
    """A policy with what gate says of it; ``held``: what decides of that, by the ``metrics``."""

    policy: ModelRef
    scores: Sequence[Score] = ()
    exchanges: Sequence[Exchange] = ()
    measured: Sequence[Measurement] = ()
    held: Sequence[Measurement] = ()
    metrics: Sequence[Metric] = ()
    gate: Sequence[Seen] = ()
    guard: Guarded | None = None


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


def learn(run: Run, begun: Standing, found: Preferences, roles: Roles, task: Lessons) -> tuple[Standing, str]:
    """The policy that is left when learning ends, and why it ended."""
    assert roles.learners is not None
    if task.options.learn.how == "dpo":
        folder, begin = run.steps("001"), watched(run.steps("000"), begun, begun, found, roles, task)
        rows = folder.once("mixed", mixed, found.learn, found.replay)
        policy = folder.once("policy", taught, begun.policy, rows, roles.learners.prefers)
        now, why = tried(folder, (begin, begin), policy, found, roles, task)
        return (now, "the pairs were learnt") if not why else (begin, why)
    learning = task.options.learn.rloo
    worth, rewarder, unfit = rewards(run.steps("reward"), begun.policy, found, roles, task)
    found = replace(found, rewarder=rewarder)
    begin = watched(run.steps("000"), begun, begun, found, roles, task)
    if unfit:
        return begin, unfit
    warm = begun.policy
    if learning.warm_up:
        folder = run.steps("warm")
        shown = folder.once("shown", demonstrations, found.learn, learning.warm_up)
        taken = folder.once("rows", lessons, shown, found.replay)
        warm = folder.once("policy", taught, begun.policy, taken, roles.tuner)
    best, policy = begin, warm
    for number in range(1, learning.rounds + 1):
        folder = run.steps(f"{number:03d}")
        policy = folder.once("policy", practise, policy, warm, worth, found.prompts, roles.learners.practises)
        now, why = tried(folder, (begin, best), policy, found, roles, task)
        if why:
            return best, f"round {number}: {why}"
        best, policy = now, now.policy
    return best, "all rounds were done"


def rewards(
    run: Steps, policy: ModelRef, found: Preferences, roles: Roles, task: Lessons
) -> tuple[ModelRef | Rewarder, Rewarder, str]:
    """What practice is learnt toward: a reward model, measured on the check pairs; or the judge. And why not."""
    learners: Learners | None = roles.learners
    assert learners is not None
    if task.options.learn.rloo.reward == "judge":
        judged = judging(roles, task)
        return judged, judged, ""
    made = run.once("policy", taught, policy, found.learn, learners.rewards)
    model = run.once("model", bare, made)
    rewarder = learners.rewarder(model)
    answers = run.once("answers", answers_of, found.check)
    said = run.map("rewards", reward, answers, rewarder)
    measured = run.once("fit", fit, found.check, said)
    decision = run.once("decision", trusted, measured, task.options.learn.guard)
    return model, rewarder, decision.reason if decision.action == "stop" else ""


def tried(
    run: Steps,
    before: tuple[Standing, Standing],
    trained: ModelRef,
    found: Preferences,
    roles: Roles,
    task: Lessons,
) -> tuple[Standing, str]:
    """What gate and the guards say of a policy, beside the start's and the last good one's; why it is not used."""
    begin, best = before
    policy = run.once("bare", bare, trained)
    now = watched(run, on_gate(run, policy, roles, task), begin, found, roles, task)
    options, others = task.options, () if best is begin else (best.held,)
    held = (begin.held, *others)
    looks = 1 if options.learn.how == "dpo" else options.learn.rloo.rounds
    lost = run.once("gates", gates, held, now.held, now.metrics, options.gates, looks)
    told = (options.learn.guard, options.gates)
    decision = run.once("decision", decide, (begin.guard, begin.gate, best.gate), (now.guard, now.gate), lost, told)
    return now, decision.reason if decision.action == "roll_back" else ""


def watched(
    run: Steps,
    now: Standing,
    begin: Standing,
    found: Preferences,
    roles: Roles,
    task: Lessons,
) -> Standing:
    """A policy with what the guards see: divergence from the start, log-probabilities of the check pairs, length,
    refusals, and reward beside what is judged."""
    guard = task.options.learn.guard
    warm = task.answers.model_copy(update={"temperature": 1.0})
    prompts = run.once("sampled", some, [e.prompt for e in now.exchanges], guard.sample)
    pairs = run.once("pair_answers", answers_of, found.check)
    with roles.target(now.policy) as target:
        drawn = run.map("sample", probe, prompts, target, warm)
        own = run.map("sample_likelihoods", likelihoods, drawn, target)
        likely = run.map("pair_likelihoods", likelihoods, pairs, target)
    with roles.target(begin.policy) as target:
        before = run.map("sample_before", likelihoods, drawn, target)
    kept = {p.id for p in prompts}
    answered = [e for e in now.exchanges if e.id in kept]
    asking = (roles.measurer, REFUSAL, task.templates, task.options.judge)
    refusals = run.map("refusals", judge, answered, *asking)
    worth = run.map("gate_rewards", reward, now.exchanges, found.rewarder) if found.rewarder else []
    gate = run.once("seen", seen, now.exchanges, now.measured, worth, roles.benchmark)
    said = run.once("guarded", guarded, gate, (own, before), (found.check, likely), refusals)
    return replace(now, gate=gate, guard=said)


def on_gate(run: Steps, policy: ModelRef, roles: Roles, task: Lessons) -> Standing:
    """A policy with all that decides on gate."""
    found = scored(run, "gate", policy, roles, task)
    held, metrics = gated(run, policy, list(found.measured), roles, task.answers)
    return replace(found, held=held, metrics=metrics)


def scored(run: Steps, split: Split, policy: ModelRef, roles: Roles, task: Lessons) -> Standing:
    """The evaluator's scores of a policy on gate or held-out."""
    with roles.target(policy) as target:
        exchanges = run.map(f"{split}_exchanges", probe, roles.benchmark.prompts(split), target, task.answers)
    measured = run.map(f"{split}_measurements", measure, exchanges, roles.benchmark)
    if split == "heldout":
        run.once("heldout_breakdown", breakdown, exchanges, measured, roles.benchmark)
    return Standing(policy, run.once(f"{split}_scores", scores, measured, roles.benchmark), exchanges, measured)


def judging(roles: Roles, task: Lessons) -> JudgeRewarder:
    """The judge as what rewards."""
    return JudgeRewarder(roles.judge, task.rubric, task.templates, task.options.judge)
