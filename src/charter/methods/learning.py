"""Learning from preferences, a part of methods: a reward model, practice in rounds, what is tried again, and what
watches over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from charter.gating import Decision
from charter.judging.learning import Guarded, Seen
from charter.judging.rubrics import REFUSAL
from charter.methods.exams import gated
from charter.methods.preferring import Lessons, Preferences, judging
from charter.nouns import Exchange, Measurement, Metric, ModelRef, Score, Split
from charter.ports import Learners, Rewarder, Roles
from charter.run import Run, Steps
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
from charter.stages.judging import judge
from charter.stages.pairs import some
from charter.stages.practice import lessons, mixed, practise, taught
from charter.stages.probe import probe


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


def learn(run: Run, begun: Standing, found: Preferences, roles: Roles, task: Lessons) -> tuple[Standing, str]:
    """The policy that is left when learning ends, and why it ended."""
    return {"dpo": by_pairs, "rloo": by_practice}[task.options.learn.how](run, begun, found, roles, task)


def by_pairs(run: Run, begun: Standing, found: Preferences, roles: Roles, task: Lessons) -> tuple[Standing, str]:
    """The pairs learnt at once, and again where what comes of them may not stay."""
    assert roles.learners is not None
    begin, gating = watched(run.steps("000"), begun, begun, found, roles, task), task.options.gates
    for tries in range(gating.retries + 1):
        folder, (more, share) = run.steps(f"{tries + 1:03d}"), gating.tries_with(tries)
        rows = folder.once("mixed", mixed, found.learn, found.replay, more)
        policy = folder.once("policy", taught, begun.policy, rows, roles.learners.prefers, share)
        now, decision = tried(folder, (begin, begin, tries), policy, found, roles, task)
        if decision.action == "go_on":
            return now, "the pairs were learnt"
        if decision.action == "give_up":
            break
    return begin, decision.reason


def by_practice(run: Run, begun: Standing, found: Preferences, roles: Roles, task: Lessons) -> tuple[Standing, str]:
    """Practice in rounds, each from the last good policy. A round that is rolled back is tried again, the first one
    with its warm-up; the smaller step stays for the rounds after it."""
    assert roles.learners is not None
    rounds, gating, practises = task.options.learn.rloo.rounds, task.options.gates, roles.learners.practises
    worth, rewarder, unfit = rewards(run.steps("reward"), begun.policy, found, roles, task)
    found = replace(found, rewarder=rewarder)
    begin = watched(run.steps("000"), begun, begun, found, roles, task)
    if unfit:
        return begin, unfit
    best, warm, tries = begin, begun.policy, 0
    for number in range(1, rounds + gating.retries + 1):
        folder, (_, share) = run.steps(f"{number:03d}"), gating.tries_with(tries)
        if best is begin:
            warm = warmed(run, begun.policy, tries, found, roles, task)
        start = warm if best is begin else best.policy
        policy = folder.once("policy", practise, start, warm, worth, found.prompts, (practises, share))
        now, decision = tried(folder, (begin, best, tries), policy, found, roles, task)
        if decision.action == "give_up":
            return best, f"round {number - tries}: {decision.reason}"
        if decision.action == "roll_back":
            tries += 1
            continue
        best = now
        if number - tries == rounds:
            break
    return best, "all rounds were done"


def warmed(run: Run, policy: ModelRef, tries: int, found: Preferences, roles: Roles, task: Lessons) -> ModelRef:
    """What practice begins with: the policy after the warm-up, if there is one."""
    count = task.options.learn.rloo.warm_up
    if not count:
        return policy
    folder, (more, share) = run.steps(f"warm-{tries + 1}" if tries else "warm"), task.options.gates.tries_with(tries)
    shown = folder.once("shown", demonstrations, found.learn, count)
    taken = folder.once("rows", lessons, shown, found.replay, more)
    return folder.once("policy", taught, policy, taken, roles.tuner, share)


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
    before: tuple[Standing, Standing, int],
    trained: ModelRef,
    found: Preferences,
    roles: Roles,
    task: Lessons,
) -> tuple[Standing, Decision]:
    """What gate and the guards say of a policy, beside the start's and the last good one's; and whether it stays.
    ``before``: these two, and how often the run was rolled back already."""
    begin, best, tries = before
    policy = run.once("bare", bare, trained)
    now = watched(run, on_gate(run, policy, roles, task), begin, found, roles, task)
    options, others = task.options, () if best is begin else (best.held,)
    held = (begin.held, *others)
    looks = options.learn.policies + options.gates.retries
    lost = run.once("gates", gates, held, now.held, now.metrics, options.gates, looks)
    told = (options.learn.guard, options.gates, tries)
    return now, run.once("decision", decide, (begin.guard, begin.gate, best.gate), (now.guard, now.gate), lost, told)


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
