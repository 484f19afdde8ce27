"""IterAlign (Chen et al., NAACL 2024, arXiv 2403.18341): red team, propose a constitution, reflect, tune, again.

Every departure from the paper is a named switch; the recipe ``iteralign-paper`` has the faithful setting.

1. draw, stop: batches drawn uniformly, until draws bound violations (paper: 20 in file order, to the end of the data).
2. scale: greedy answers in the model's chat format (paper: raw prompt, stop at a blank line, frequency penalty 0.5).
3. judge: prompt and response under a closed menu (paper: the response alone; a finding is a reply with "Negative").
4. cluster, propose, amend: a rule for each cluster that holds when tried, merged (paper: a paragraph for each batch).
5. reflect: critique, then revision, by the starting model (paper: the rules appended to the prompt, by the policy).
6. keep: only verified revisions (paper: all of them).
7. replay, tune: anew from the start on all rows with replay (paper: on from the last checkpoint, this batch alone).
8. contrast, measure, ratify: look-alikes, the efficacy and breadth of each rule, which may retire or reword it, and
   what people decide about it (not in the paper).
9. attack: attempts in many styles, spent by a bandit, beside the plain draws (paper: none of its own).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from charter.methods.bandit_red_teaming import (
    AttackKnowledge,
    AttackLog,
    PlainAnswers,
    PromptPool,
    build_prompt_pool,
    run_attack_rounds,
)
from charter.methods.benchmark_evaluation import score_heldout, score_start
from charter.methods.failure_clusters import cluster_failures
from charter.methods.inputs import Inputs
from charter.methods.norm_following import NormedRun, apply_norms, measure_norms, take_over, write_prompts
from charter.methods.policy_state import PolicyState
from charter.methods.policy_trial import TrialPlan, try_policy
from charter.methods.principle_verification import discover_rules, ratify_rules, record_seed, reword_broad_rules
from charter.methods.reflection import RevisionJudge, build_reviser, reflect_and_judge
from charter.methods.revision_checks import keep_revisions
from charter.methods.rule_measurement import BenignAnswers, ClusteredRules, add_hidden_failures, measure_efficacy
from charter.ports import Roles
from charter.records.chat import Prompt
from charter.records.training_rows import Example, add_rows
from charter.records.verdicts import Verdict
from charter.runs import NextStep, Run, Steps
from charter.stages.accept import should_stop
from charter.stages.contrast import contrast
from charter.stages.draw import draw, exclude_protected
from charter.stages.judge import judge, select_violations
from charter.stages.norm_application import build_handover
from charter.stages.probe import probe
from charter.stages.reflect import make_trials
from charter.stages.replay import build_replay, select_replay_prompts


@dataclass(frozen=True, kw_only=True)
class IterAlignState(PolicyState):
    """Where the loop stands. ``drawn_verdicts``: those since the last tuning; ``pending``: rows whose policy was rolled
    back ``tries`` times, to be tried again; ``attempts``: what the bandit knows."""

    drawn_verdicts: tuple[Verdict, ...] = ()
    pending: tuple[Example, ...] = ()
    tries: int = 0
    attempts: AttackLog = field(default_factory=AttackLog)


@dataclass(frozen=True)
class Draws:
    """What an iteration draws from: its ``batch``, the red-team prompts after it, ordinary prompts, and the prompts
    that may be attacked."""

    batch: Sequence[Prompt]
    unprobed: Sequence[Prompt]
    helpful: Sequence[Prompt]
    pool: PromptPool


def iteralign(run: Run, roles: Roles, task: Inputs) -> IterAlignState:
    """Aligns ``task.start``. Decisions read train draws and gate; held-out is scored first and last, for the report."""
    start, given, options = run.steps("000"), task.given, task.options
    prompts = start.once("prompts", draw, task.redteam, task.guard, options.draw)
    helpful = start.once("helpful", exclude_protected, task.helpful, task.guard)
    pool = build_prompt_pool(start, prompts, options)
    policy = given.policy if given is not None else task.start
    scores, measurements = score_start(start, policy, roles, task)
    seed = record_seed(start, task)
    state = IterAlignState(policy=policy, constitution=seed, history=(scores,), gate_measurements=(measurements,))
    before = write_prompts(start, state.policy, roles, task)
    rest, first = [p for p in prompts if given is None or p.id not in given.probed_prompt_ids] or prompts, 1
    if before is not None:
        state = resume(run.steps("001"), state, before, Draws((), rest, helpful, pool), roles, task)
        first = 2 if task.norms else 1
    for number in range(first, first + options.stop.iterations):
        folder = run.steps(f"{number:03d}")
        if state.pending:
            state = train_policy(folder, state, state.pending, roles, task)
        else:
            size = options.draw.batch if number == first else options.draw.later
            batch, rest = rest[:size], rest[size:]
            if not batch:
                break
            pool = replace(pool, drawn_count=len(prompts) - len(rest))
            state = iterate(folder, state, Draws(batch, rest, helpful, pool), roles, task)
        if state.stopped:
            break
    end = run.steps("final")
    score_heldout(end, state.policy, roles, task)
    measure_norms(end, before.norm_prompts if before is not None else (), state.policy, roles, task)
    end.once("handover", build_handover, state.handover)
    return state if state.stopped else replace(state, stopped="the last batch was done")


def iterate(run: Steps, now: IterAlignState, draws: Draws, roles: Roles, task: Inputs) -> IterAlignState:
    """One iteration. Each name on the left of a step is a file of the run; other calls leave several."""
    options, texts, most = task.options, task.templates, task.options.cluster.show
    with roles.target(now.policy) as target:
        judging = NextStep("verdicts", judge, roles.judge, *task.judge_arguments())
        exchanges = run.map("exchanges", probe, draws.batch, target, task.answers, then=judging)
        verdicts = run.map_next(judging, exchanges)
        now = count_draws(now, draws.batch, verdicts)
        stop = run.once("stop", should_stop, now.drawn_verdicts, options.stop)
        known = AttackKnowledge(now.attempts, now.constitution, draws.pool)
        attempts = run_attack_rounds(run, known, PlainAnswers(target, exchanges, verdicts), roles, task)
        exchanges, verdicts = [*exchanges, *attempts.exchanges], [*verdicts, *attempts.verdicts]
        findings = run.once("findings", select_violations, exchanges, verdicts)
        now, clean = replace(now, attempts=attempts), stop.action == "stop" and not attempts.violations
        if clean or not findings:
            return replace(now, stopped=stop.reason if clean else "")
        clusters = cluster_failures(run, findings, roles, task)
        amended = discover_rules(run, ClusteredRules(now.constitution, clusters), target, roles, task)
        lookalikes = run.map(
            "lookalikes", contrast, clusters, roles.proposer, task.guard, texts, options.contrast, most
        )
        widened = add_hidden_failures(run, ClusteredRules(amended, clusters), draws.unprobed, target, roles, task)
    trials = run.once("trials", make_trials, findings)
    with roles.target(task.start if options.reflect.by == "start" else now.policy) as model:
        weighed = measure_efficacy(run, ClusteredRules(amended, widened), model, roles, task)
        ratified = ratify_rules(run, weighed, task)
        by = RevisionJudge(roles.judge, *task.judge_arguments(), step="rechecks")
        revised = reflect_and_judge(run, "", trials, build_reviser(model, ratified, task, roles.embedder), by)
    examples, now = keep_revisions(run, revised, now, roles, task)
    missing = now.missing_replay(options.replay.ratio, len(examples))
    rehearsals = run.once(
        "rehearsals", select_replay_prompts, lookalikes, draws.helpful, now.rehearsed, missing, options.replay
    )
    with roles.target(task.start) as starting:
        checking = NextStep("checks", judge, roles.judge, *task.judge_arguments(task.replay_rubric))
        answers = run.map("answers", probe, rehearsals, starting, task.answers, then=checking)
        checks = run.map_next(checking, answers)
        benign = BenignAnswers(clusters, lookalikes, answers, checks)
        now = replace(now, constitution=reword_broad_rules(run, ratified, benign, starting, roles, task))
    replay = run.once("replay", build_replay, answers, checks, exchanges, verdicts, options.replay)
    now = replace(now, rehearsed=(*now.rehearsed, *(p.id for p in rehearsals)), replayed=add_rows(now.replayed, replay))
    return train_policy(run, now, tuple(examples), roles, task)


def count_draws(now: IterAlignState, batch: Sequence[Prompt], verdicts: Sequence[Verdict]) -> IterAlignState:
    """The state with a batch counted among the draws since the last tuning."""
    probed = (*now.probed, *(p.id for p in batch))
    return replace(now, drawn_verdicts=(*now.drawn_verdicts, *verdicts), probed=probed)


def train_policy(
    run: Steps, now: IterAlignState, examples: tuple[Example, ...], roles: Roles, task: Inputs
) -> IterAlignState:
    """A policy from the rows, and what gate says of it. Rows that were rolled back are pending, to be tried again. When
    that does not help either, the run stops at the last policy that was accepted."""
    plan = TrialPlan(task.start, now.tries, task.options.stop.iterations)
    trial = try_policy(run, now, examples, plan, roles, task)
    action, reason = trial.decision.action, trial.decision.reason
    if action == "roll_back":
        return replace(now, pending=examples, tries=now.tries + 1)
    now = replace(now, pending=(), tries=0, stopped=reason if action in ("stop", "give_up") else "")
    if action == "give_up" or not examples:
        return now
    return replace(trial.accept_into(now), drawn_verdicts=())


def resume(
    run: Steps, now: IterAlignState, before: NormedRun, draws: Draws, roles: Roles, task: Inputs
) -> IterAlignState:
    """Where the old run ended, with what people decided since followed: rows that it turns wrong are left out, prompts
    that it decides about are probed, and a policy is trained."""
    given, now = before.given, take_over(now, before.given)
    if not task.norms:
        return now
    now, batch = apply_norms(run, now, before, roles, task)
    after = iterate(run, now, replace(draws, batch=batch), roles, task) if batch else now
    changed = now.examples != given.examples or now.replayed != given.replay_rows
    if after.policy != now.policy or after.pending or not changed:
        return replace(after, stopped="")
    if not now.examples:
        return replace(after, policy=task.start, drawn_verdicts=(), stopped="")
    after = replace(after, examples=(), drawn_verdicts=())
    return replace(train_policy(run, after, now.examples, roles, task), stopped="")
