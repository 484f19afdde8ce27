"""IterAlign (Chen et al., NAACL 2024, arXiv 2403.18341): red team, propose a constitution, reflect, tune, again.

Every departure from the paper is a named switch of ``Options``; the recipe ``iteralign-paper`` has the faithful
setting.

1. draw, stop: batches drawn uniformly, until draws bound violations (paper: 20 in file order, to the end of the data).
2. scale: greedy answers in the model's chat format (paper: raw prompt, stop at a blank line, frequency penalty 0.5).
3. judge: prompt and response under a closed menu (paper: the response alone; a finding is a reply with "Negative").
4. cluster, propose, amend: a rule for each cluster, merged with the constitution (paper: a paragraph for each batch).
5. reflect: critique, then revision, by the starting model (paper: the rules appended to the prompt, by the policy).
6. keep: only verified revisions (paper: all of them).
7. replay, tune: anew from the start on all rows with replay (paper: on from the last checkpoint, this batch alone).
8. contrast, measure: look-alikes, and the efficacy and breadth of each rule, which may retire or reword it (not in
   the paper).
9. attack: attempts in many styles, spent by a bandit, beside the plain draws (paper: none of its own).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from charter.constitution.document import Constitution, extract_norms
from charter.constitution.run_state import RunState
from charter.judging.rubrics import CONDUCT, HELP, REPLAY, Rubric
from charter.methods.bandit_red_teaming import AttackConfig, AttackLog, PromptPool, build_prompt_pool, run_attack_rounds
from charter.methods.benchmark_evaluation import measure_gate_benchmarks, run_benchmarks
from charter.methods.row_curation import curate_rows
from charter.ports import Engine, Roles
from charter.records.chat import Exchange, Prompt, Sampling
from charter.records.measurements import Measurement, Score, Split
from charter.records.model_refs import ModelRef
from charter.records.revisions import RevisionCheck
from charter.records.rules import Lookalikes, Norm, NormPrompts
from charter.records.training_rows import Example
from charter.records.verdicts import Cluster, Finding, Verdict
from charter.run import Run, Steps
from charter.similarity.splits import LeakageFilter
from charter.spec import MethodOptions
from charter.stages.accept import accept, should_stop
from charter.stages.amend import amend
from charter.stages.clustering import cluster
from charter.stages.contrast import contrast
from charter.stages.curate import CurationSetup
from charter.stages.draw import draw, exclude_protected
from charter.stages.efficacy import (
    add_hidden_findings,
    compute_efficacy,
    draw_extra_prompts,
    find_redundant_rules,
    leave_each_out,
    leave_two_out,
)
from charter.stages.evaluator_scores import break_down_scores, compute_scores, measure
from charter.stages.gate_checks import check_gates, detect_collapse
from charter.stages.judge import judge, select_violations
from charter.stages.norm_application import (
    build_handover,
    drop_contradicted_rows,
    find_doubtful_rows,
    norm_check_prompts,
    norm_training_prompts,
    write_norm_prompts,
)
from charter.stages.overreach import (
    find_overreaching,
    leave_one_out,
    measure_breadth,
    revise_rules,
    reword_rules,
    select_benign_trials,
)
from charter.stages.probe import probe
from charter.stages.propose import propose
from charter.stages.reflect import critique, make_trials, revise, revised_exchanges
from charter.stages.replay import build_replay, build_training_mix, select_replay_prompts
from charter.stages.tune import tune
from charter.stages.verification import select_for_help_check, to_examples, verify
from charter.templates import Templates


@dataclass(frozen=True)
class IterAlignInputs:
    """What is to be aligned, with what, and how."""

    start: ModelRef
    redteam: Sequence[Prompt]
    helpful: Sequence[Prompt]
    guard: LeakageFilter
    templates: Templates
    answers: Sampling
    critiques: Sampling
    options: MethodOptions
    rubric: Rubric = CONDUCT
    given: RunState | None = None
    sifting: CurationSetup | None = None

    @property
    def norms(self) -> tuple[Norm, ...]:
        """What people decided, in a run that goes on from another one."""
        return extract_norms(self.given.constitution) if self.given is not None else ()

    @property
    def helpfulness_rubric(self) -> Rubric:
        """Whether a response helps, under what people decided."""
        return HELP.model_copy(update={"norms": self.norms})

    @property
    def replay_rubric(self) -> Rubric:
        """Whether an answer may be replayed, under what people decided."""
        return REPLAY.model_copy(update={"norms": self.norms})


@dataclass(frozen=True)
class IterAlignState:
    """Where the loop stands. ``history``: gate scores of the start and of each accepted policy; ``gated``: the gate
    measurements of the start and of the last accepted policy; ``drawn``: verdicts since the last tuning; ``rehearsed``:
    replay prompts answered so far; ``pending``: rows whose policy was rolled back ``tries`` times, to be tried again;
    ``passing``: revisions that passed, of how many, in each iteration; ``attempts``: what the bandit knows."""

    policy: ModelRef
    constitution: Constitution
    history: tuple[list[Score], ...]
    gate_measurements: tuple[list[Measurement], ...]
    examples: tuple[Example, ...] = ()
    replayed: tuple[Example, ...] = ()
    rehearsed: tuple[str, ...] = ()
    drawn_verdicts: tuple[Verdict, ...] = ()
    pending: tuple[Example, ...] = ()
    tries: int = 0
    pass_counts: tuple[tuple[int, int], ...] = ()
    stopped: str = ""
    probed: tuple[str, ...] = ()
    causes: tuple[Finding, ...] = ()
    attempts: AttackLog = field(default_factory=AttackLog)


def iteralign(run: Run, roles: Roles, task: IterAlignInputs) -> IterAlignState:
    """Aligns ``task.start``. Decisions read train draws and gate; held-out is scored first and last, for the report."""
    start, given, first = run.steps("000"), task.given, 1
    prompts = start.once("prompts", draw, task.redteam, task.guard, task.options.draw)
    helpful = start.once("helpful", exclude_protected, task.helpful, task.guard)
    where = build_prompt_pool(start, prompts, task.options)
    policy = given.policy if given is not None else task.start
    measured, gate = score_policy(start, "gate", policy, roles, task)
    measured, _ = measure_gate_benchmarks(start, policy, measured, roles, task.answers)
    score_policy(start, "heldout", policy, roles, task)
    run_benchmarks(start, policy, task.start, roles.suite, task.answers)
    progress, written = IterAlignState(policy, Constitution(), (gate,), (measured,)), list[NormPrompts]()
    rest = prompts
    if given is not None:
        rest = [p for p in prompts if p.id not in given.probed_prompt_ids] or prompts
        written = start.map(
            "norm_prompts", write_norm_prompts, task.norms, roles.proposer, given, task.guard, task.templates
        )
        measure_norms(start, written, policy, roles, task)
        progress = resume_with_norms(run.steps("001"), progress, (given, written, rest, helpful), where, roles, task)
        first = 2 if task.norms else 1
    for number in range(first, first + task.options.stop.iterations):
        folder = run.steps(f"{number:03d}")
        if progress.pending:
            progress = train_policy(folder, progress, progress.pending, roles, task)
        else:
            size = task.options.draw.batch if number == first else task.options.draw.later
            batch, rest = rest[:size], rest[size:]
            if not batch:
                break
            where = replace(where, drawn_count=len(prompts) - len(rest))
            progress = iterate(folder, progress, (batch, rest, helpful), where, roles, task)
        if progress.stopped:
            break
    end = run.steps("final")
    score_policy(end, "heldout", progress.policy, roles, task)
    run_benchmarks(end, progress.policy, task.start, roles.suite, task.answers)
    measure_norms(end, written, progress.policy, roles, task)
    rows, seen = (progress.examples, progress.replayed), (progress.rehearsed, progress.probed)
    end.once("handover", build_handover, progress.policy, progress.constitution, rows, seen, progress.causes)
    return progress if progress.stopped else replace(progress, stopped="the last batch was done")


def iterate(
    run: Steps,
    now: IterAlignState,
    prompts: tuple[list[Prompt], list[Prompt], list[Prompt]],
    where: PromptPool,
    roles: Roles,
    task: IterAlignInputs,
) -> IterAlignState:
    """One iteration: each name on the left is a file of the run."""
    options, texts, (batch, unprobed, helpful) = task.options, task.templates, prompts
    means = AttackConfig(task.guard, task.rubric, texts, task.answers, options.attack, options.judge)
    reflecting = (options.reflect, task.critiques)
    with roles.target(now.policy) as target:
        exchanges = run.map("exchanges", probe, batch, target, task.answers)
        verdicts = run.map("verdicts", judge, exchanges, roles.judge, task.rubric, texts, options.judge)
        drawn = (*now.drawn_verdicts, *verdicts)
        now = replace(now, probed=(*now.probed, *(p.id for p in batch)))
        state = run.once("clean", should_stop, drawn, options.stop)
        history = (now.attempts, now.constitution)
        tries = run_attack_rounds(run, history, where, (exchanges, verdicts, target), roles, means)
        exchanges, verdicts = [*exchanges, *tries.exchanges], [*verdicts, *tries.verdicts]
        findings = run.once("findings", select_violations, exchanges, verdicts)
        clear = state.action == "stop" and all(v.outcome != "violates" for v in tries.verdicts)
        if clear or not findings:
            return replace(now, drawn_verdicts=drawn, attempts=tries, stopped=state.reason if clear else "")
        clusters = run.once("clusters", cluster, findings, options.cluster)
        asked = (options.propose, options.cluster)
        proposals = run.map("proposals", propose, clusters, roles.proposer, now.constitution, texts, asked)
        amended = run.once("amended", amend, now.constitution, proposals, roles.proposer, texts, options.amend)
        wanted = (options.contrast, options.cluster)
        lookalikes = run.map("lookalikes", contrast, clusters, roles.proposer, task.guard, texts, wanted)
        widened = add_hidden_failures(run, (amended, clusters, unprobed), target, roles, task)
    again = run.once("trials", make_trials, findings)
    with roles.target(task.start if options.reflect.by == "start" else now.policy) as thinking:
        critiques = run.map("critiques", critique, again, thinking, amended, texts, reflecting)
        answering = (options.reflect, task.answers)
        revisions = run.map("revisions", revise, again, critiques, thinking, amended, texts, answering)
        weighed = measure_efficacy(run, amended, widened, thinking, roles, task)
    rechecks = run.map("rechecks", judge, revised_exchanges(revisions), roles.judge, task.rubric, texts, options.judge)
    complying = run.once("complying", select_for_help_check, revisions, rechecks, options.keep)
    helps = run.map(
        "helps", judge, revised_exchanges(complying), roles.judge, task.helpfulness_rubric, texts, options.judge
    )
    kept = run.once("kept", verify, revisions, (rechecks, helps), now.examples, (options.keep, options.replay))
    now = check_pass_rate(run, now, kept, task)
    examples = run.once("examples", to_examples, kept)
    missing = round(options.replay.ratio * len((*now.examples, *examples))) - len(now.replayed)
    rehearsal = run.once(
        "rehearsals", select_replay_prompts, lookalikes, helpful, now.rehearsed, missing, options.replay
    )
    with roles.target(task.start) as starting:
        answers = run.map("answers", probe, rehearsal, starting, task.answers)
        checks = run.map("checks", judge, answers, roles.judge, task.replay_rubric, texts, options.judge)
        constitution = reword_broad_rules(run, (weighed, lookalikes, answers, checks), starting, roles, task)
    replayed = run.once("replay", build_replay, answers, checks, exchanges, verdicts, options.replay)
    ready = replace(
        now,
        constitution=constitution,
        rehearsed=(*now.rehearsed, *(p.id for p in rehearsal)),
        replayed=(*now.replayed, *replayed),
        drawn_verdicts=drawn,
        attempts=tries,
    )
    return train_policy(run, ready, tuple(examples), roles, task)


def check_pass_rate(
    run: Steps, now: IterAlignState, kept: list[RevisionCheck], task: IterAlignInputs
) -> IterAlignState:
    """Whether revisions still pass, on record: an alarm stops nothing."""
    passing = (*now.pass_counts, (sum(k.kept for k in kept), len(kept)))
    run.once("alarms", detect_collapse, passing, task.options.gates)
    return replace(now, pass_counts=passing)


def train_policy(
    run: Steps, now: IterAlignState, examples: tuple[Example, ...], roles: Roles, task: IterAlignInputs
) -> IterAlignState:
    """A policy from the rows, and what gate says of it. Rows that were rolled back are tried again with more replay or
    a smaller step; when that does not help either, the run stops at the last policy that was accepted."""
    options = task.options
    more, share = options.gates.retry_settings(now.tries)
    mixed = run.once(
        "rows", build_training_mix, now.examples, examples, now.replayed, (options.replay, options.tune, more)
    )
    ready = curate_rows(run, mixed, roles, task)
    policy = run.once("policy", tune, task.start, now.policy, ready, roles.tuner, options.tune, share)
    measured, gate = score_policy(run, "gate", policy, roles, task)
    measured, known = measure_gate_benchmarks(run, policy, measured, roles, task.answers)
    held = run.once(
        "gates", check_gates, now.gate_measurements, measured, known, options.gates, options.stop.iterations
    )
    deciding = (options.stop, options.gates, now.tries)
    decision = run.once("decision", accept, now.history, gate, held, len(examples), deciding)
    if decision.action == "roll_back":
        return replace(now, pending=examples, tries=now.tries + 1)
    if decision.action == "give_up":
        return replace(now, pending=(), tries=0, stopped=decision.reason)
    settled = replace(now, pending=(), tries=0, stopped=decision.reason if decision.action == "stop" else "")
    if not examples:
        return settled
    accepted = (*now.examples, *examples)
    last = (now.gate_measurements[0], measured)
    return replace(
        settled,
        policy=policy,
        history=(*now.history, gate),
        gate_measurements=last,
        examples=accepted,
        drawn_verdicts=(),
    )


def resume_with_norms(
    run: Steps,
    now: IterAlignState,
    left: tuple[RunState, list[NormPrompts], list[Prompt], list[Prompt]],
    where: PromptPool,
    roles: Roles,
    task: IterAlignInputs,
) -> IterAlignState:
    """Where the old run ended, with what people decided since followed: rows that it turns wrong are left out, prompts
    that it decides about are probed, and a policy is trained."""
    given, written, rest, helpful = left
    now = replace(now, rehearsed=given.replay_prompt_ids, probed=given.probed_prompt_ids, causes=given.findings)
    if not task.norms:
        return replace(now, constitution=given.constitution, examples=given.examples, replayed=given.replay_rows)
    doubts = run.once("doubtful", find_doubtful_rows, task.norms, given)
    judging = (task.templates, task.options.judge)
    conduct = run.map("doubtful_conduct", judge, doubts, roles.judge, task.rubric, *judging)
    replays = run.map("doubtful_replays", judge, doubts, roles.judge, task.replay_rubric, *judging)
    settled = run.once("settled", drop_contradicted_rows, given, task.norms, conduct, replays)
    allowed = run.once("allowed_prompts", norm_training_prompts, task.norms, written, False)
    with roles.target(task.start) as starting:
        answers = run.map("allowed_answers", probe, allowed, starting, task.answers)
    checks = run.map("allowed_checks", judge, answers, roles.judge, task.replay_rubric, *judging)
    helpful_now = run.once("allowed", build_replay, answers, checks, (), (), task.options.replay)
    batch = run.once("norm_batch", norm_training_prompts, task.norms, written, True)
    replayed = (*settled.replay_rows, *helpful_now)
    now = replace(now, constitution=settled.constitution, examples=settled.examples, replayed=replayed)
    after = iterate(run, now, (batch, rest, helpful), where, roles, task) if batch else now
    changed = settled.examples != given.examples or replayed != given.replay_rows
    if after.policy != now.policy or after.pending or not changed:
        return replace(after, stopped="")
    if not settled.examples:
        return replace(after, policy=task.start, drawn_verdicts=(), stopped="")
    return replace(
        train_policy(run, replace(after, examples=(), drawn_verdicts=()), settled.examples, roles, task), stopped=""
    )


def measure_norms(
    run: Steps, written: list[NormPrompts], policy: ModelRef, roles: Roles, task: IterAlignInputs
) -> None:
    """Whether a policy follows what people decided, on prompts that no row is made of."""
    for name, holds, rubric in (("norms_held", True, task.rubric), ("norms_withdrawn", False, task.replay_rubric)):
        prompts = run.once(f"{name}_prompts", norm_check_prompts, task.norms, written, holds) if written else []
        if prompts:
            with roles.target(policy) as target:
                exchanges = run.map(f"{name}_exchanges", probe, prompts, target, task.answers)
            asked = (roles.measuring_judge, rubric, task.templates, task.options.judge)
            run.map(f"{name}_verdicts", judge, exchanges, *asked)


def add_hidden_failures(
    run: Steps,
    given: tuple[Constitution, list[Cluster], list[Prompt]],
    target: Engine,
    roles: Roles,
    task: IterAlignInputs,
) -> list[Cluster]:
    """The clusters with further hidden failures, where a rule has too few to be measured on."""
    options, (constitution, clusters, unprobed) = task.options, given
    more = run.once("further", draw_extra_prompts, constitution, clusters, unprobed, options.measure)
    probes = run.map("further_exchanges", probe, more, target, task.answers)
    asked = (roles.measuring_judge, task.rubric, task.templates, options.judge)
    verdicts = run.map("further_verdicts", judge, probes, *asked)
    found = run.once("further_findings", select_violations, probes, verdicts)
    return run.once("widened", add_hidden_findings, constitution, clusters, found)


def measure_efficacy(
    run: Steps, constitution: Constitution, widened: list[Cluster], target: Engine, roles: Roles, task: IterAlignInputs
) -> Constitution:
    """The constitution with the measured efficacy of each rule, on failures that its proposer never saw."""
    options, texts, measuring = task.options, task.templates, task.options.measure
    reflecting, answering = (options.reflect, task.critiques), (options.reflect, task.answers)
    single = run.once("single_trials", leave_each_out, constitution, widened, measuring)
    thoughts = run.map("single_critiques", critique, single, target, constitution, texts, reflecting)
    answers = run.map("single_revisions", revise, single, thoughts, target, constitution, texts, answering)
    judged = run.map(
        "single_verdicts", judge, revised_exchanges(answers), roles.measuring_judge, task.rubric, texts, options.judge
    )
    covered = run.once("covers", find_redundant_rules, constitution, widened, judged)
    double = run.once("double_trials", leave_two_out, constitution, widened, covered)
    thoughts = run.map("double_critiques", critique, double, target, constitution, texts, reflecting)
    answers = run.map("double_revisions", revise, double, thoughts, target, constitution, texts, answering)
    doubled = run.map(
        "double_verdicts", judge, revised_exchanges(answers), roles.measuring_judge, task.rubric, texts, options.judge
    )
    return run.once("weighed", compute_efficacy, constitution, widened, (*judged, *doubled), covered, measuring)


def reword_broad_rules(
    run: Steps,
    given: tuple[Constitution, list[Lookalikes], list[Exchange], list[Verdict]],
    starting: Engine,
    roles: Roles,
    task: IterAlignInputs,
) -> Constitution:
    """The constitution after upkeep: rules under which benign look-alikes become refused are reworded, rules that mend
    nothing are retired."""
    options, texts, (constitution, lookalikes, answers, checks) = task.options, task.templates, given
    reflecting, answering = (options.reflect, task.critiques), (options.reflect, task.answers)
    again = run.once("benign", select_benign_trials, lookalikes, answers, checks, options.measure)
    thoughts = run.map("benign_critiques", critique, again, starting, constitution, texts, reflecting)
    revised = run.map("benign_revisions", revise, again, thoughts, starting, constitution, texts, answering)
    judged = run.map(
        "benign_verdicts",
        judge,
        revised_exchanges(revised),
        roles.measuring_judge,
        task.replay_rubric,
        texts,
        options.judge,
    )
    without = run.once("blamed", leave_one_out, constitution, lookalikes, again, judged)
    thoughts = run.map("blamed_critiques", critique, without, starting, constitution, texts, reflecting)
    revised = run.map("blamed_revisions", revise, without, thoughts, starting, constitution, texts, answering)
    verdicts = (
        *judged,
        *run.map(
            "blamed_verdicts",
            judge,
            revised_exchanges(revised),
            roles.measuring_judge,
            task.replay_rubric,
            texts,
            options.judge,
        ),
    )
    reached = run.once("breadth", measure_breadth, constitution, lookalikes, again, verdicts)
    reaches = run.once("too_broad", find_overreaching, reached, lookalikes, again, verdicts)
    reworded = run.map("narrowed", reword_rules, reaches, roles.proposer, texts)
    return run.once("constitution", revise_rules, reached, reworded, options.amend)


def score_policy(
    run: Steps, split: Split, policy: ModelRef, roles: Roles, task: IterAlignInputs
) -> tuple[list[Measurement], list[Score]]:
    """The evaluator's measurements and scores of a policy on gate or held-out; held-out is broken down by what is known
    of its prompts."""
    with roles.target(policy) as target:
        prompts = roles.benchmark.prompts(split)
        exchanges = run.map(f"{split}_exchanges", probe, prompts, target, task.answers)
    measured = run.map(f"{split}_measurements", measure, exchanges, roles.benchmark)
    if split == "heldout":
        run.once("heldout_breakdown", break_down_scores, exchanges, measured, roles.benchmark)
    return measured, run.once(f"{split}_scores", compute_scores, measured, roles.benchmark)
