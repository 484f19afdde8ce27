"""What the methods that begin with rules share: how a run begins and ends, verification, replay, tuning under gates. A
part of methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from charter.constitution.document import Constitution
from charter.constitution.exemplars import Exemplar, HumanLines, human_lines
from charter.methods.benchmark_evaluation import score_heldout, score_start
from charter.methods.inputs import Inputs
from charter.methods.policy_state import PolicyState
from charter.methods.policy_trial import PolicyTrial, TrialPlan, try_policy, try_until_decided
from charter.methods.reflection import JudgedRevisions
from charter.methods.revision_checks import keep_revisions
from charter.ports import Roles
from charter.records.chat import Exchange, Prompt
from charter.records.decisions import Decision
from charter.records.revisions import Revision
from charter.records.rules import Lookalikes
from charter.records.training_rows import Example, add_rows
from charter.records.verdicts import Finding, Verdict
from charter.runs import NextStep, Run, Steps
from charter.stages.clustering import cluster
from charter.stages.contrast import contrast
from charter.stages.critique_rounds import accept_unjudged, select_for_check, split_by_prompt
from charter.stages.draw import draw, exclude_protected
from charter.stages.judge import judge
from charter.stages.norm_application import build_handover
from charter.stages.preference_pairs import repeat_prompts
from charter.stages.probe import probe
from charter.stages.replay import build_replay, select_replay_prompts


@dataclass(frozen=True, kw_only=True)
class PrincipleState(PolicyState):
    """Where a method stands: also its prompts, and the number of the last folder."""

    prompts: Sequence[Prompt] = ()
    helpful: Sequence[Prompt] = ()
    folder: int = 0


@dataclass(frozen=True)
class JudgedByConduct:
    """The prompts whose answers are judged by conduct (others: whether they answer a harmless request well), and the
    verdicts that are known already."""

    prompts: Sequence[Prompt]
    verdicts: Sequence[Verdict] = ()


@dataclass(frozen=True)
class ReplaySources:
    """What replay is made from: look-alikes, and the target's plain answers with the verdicts on them."""

    lookalikes: Sequence[Lookalikes] = ()
    exchanges: Sequence[Exchange] = ()
    verdicts: Sequence[Verdict] = ()


def measure_baseline(run: Steps, roles: Roles, inputs: Inputs) -> PrincipleState:
    """Prompts in their order, the rules, how much people wrote, and the scores before."""
    course = set_up(run, inputs)
    scores, measurements = score_start(run, course.policy, roles, inputs)
    return replace(course, history=(scores,), gate_measurements=(measurements,))


def set_up(run: Steps, inputs: Inputs) -> PrincipleState:
    """The same without scores: for a method that tunes nothing."""
    prompts = run.once("prompts", draw, inputs.redteam, inputs.guard, inputs.options.draw)
    helpful = run.once("helpful", exclude_protected, inputs.helpful, inputs.guard)
    constitution = run.record("constitution", inputs.constitution)
    written = inputs.principles.instructions
    seeds, types = (len(written.seeds), len(written.types)) if written is not None else (0, 0)
    left = inputs.given
    counted = left is not None and left.constitution == constitution  # where they were written
    fresh = Constitution() if counted else constitution
    exemplars, total = inputs.principles.exemplars, len(prompts) + len(helpful)
    run.once("supervision", count_supervision, fresh, exemplars, seeds, types, total)
    policy = left.policy if left is not None else inputs.start
    course = PrincipleState(prompts=prompts, helpful=helpful, policy=policy, constitution=constitution)
    if left is None:
        return course
    rest = [p for p in prompts if p.id not in left.probed_prompt_ids] or prompts
    return replace(
        course,
        prompts=rest,
        examples=left.examples,
        replayed=left.replay_rows,
        rehearsed=left.replay_prompt_ids,
        probed=left.probed_prompt_ids,
        causes=left.findings,
    )


def count_supervision(
    constitution: Constitution, exemplars: Sequence[Exemplar], seeds: int, question_types: int, prompts: int
) -> HumanLines:
    """How much people wrote."""
    return human_lines(constitution, exemplars, seeds, question_types, prompts)


def make_lookalikes(run: Steps, found: Sequence[Finding], roles: Roles, inputs: Inputs) -> Sequence[Lookalikes]:
    """Look-alikes of the failures; none where the spec asks for none."""
    options, texts = inputs.options, inputs.templates
    clusters = run.once("clusters", cluster, found, options.cluster, roles.embedder)
    shown = options.cluster.show
    lookalikes = run.map("lookalikes", contrast, clusters, roles.proposer, inputs.guard, texts, options.contrast, shown)
    return lookalikes


def verify_revisions(
    run: Steps,
    revisions: Sequence[Revision],
    hard: JudgedByConduct,
    course: PrincipleState,
    roles: Roles,
    inputs: Inputs,
) -> list[Example]:
    """The rows that pass: answers to ``hard`` prompts by the rubric of conduct, other answers by that of replay."""
    keeping, known = inputs.options.keep, hard.verdicts
    attempts = run.once("attempts", split_by_prompt, revisions, hard.prompts, True)
    ordinary = run.once("ordinary", split_by_prompt, revisions, hard.prompts, False)
    judged_already = {v.id for v in known}
    left = [r.exchange for r in attempts if r.id not in judged_already]
    unjudged = run.once("unjudged", select_for_check, left, keeping)
    rechecks = run.map("rechecks", judge, unjudged, roles.judge, *inputs.judge_arguments())
    ordinary_answers = run.once("ordinary_answers", select_for_check, [r.exchange for r in ordinary], keeping)
    ordinary_verdicts = run.map(
        "ordinary_verdicts", judge, ordinary_answers, roles.judge, *inputs.judge_arguments(inputs.replay_rubric)
    )
    judged = JudgedRevisions(revisions, [*known, *rechecks])
    return keep_revisions(run, judged, course, roles, inputs, ordinary_verdicts)[0]


def add_replay(
    run: Steps, sources: ReplaySources, fresh: int, course: PrincipleState, roles: Roles, inputs: Inputs
) -> PrincipleState:
    """Replay for ``fresh`` new rows: the starting model's answers to look-alikes and ordinary prompts, and what already
    complied among the plain answers."""
    options, known = inputs.options, course.rehearsed
    missing = course.missing_replay(options.replay.ratio, fresh)
    rehearsals = run.once(
        "rehearsals", select_replay_prompts, sources.lookalikes, course.helpful, known, missing, options.replay
    )
    with roles.target(inputs.start) as starting:
        checking = NextStep(
            "checks",
            judge,
            roles.judge,
            *inputs.judge_arguments(inputs.replay_rubric),
            to_items=lambda answer: select_for_check([answer], options.keep),
        )
        answers = run.map("answers", probe, rehearsals, starting, inputs.answers, then=checking)
        if (further := inputs.principles.samples - 1) > 0:
            asked_again = run.once("asked_again", repeat_prompts, rehearsals, further)
            drawing = inputs.answers.model_copy(update={"temperature": options.cai.temperature})
            answers_again = run.map("answers_again", probe, asked_again, starting, drawing)
            answers = [*answers, *answers_again]
    judged_answers = run.once("judged_answers", select_for_check, answers, options.keep)
    checks = run.map_next(checking, judged_answers)
    unchecked = run.once("unchecked", accept_unjudged, answers, options.keep)
    plain, verdicts = sources.exchanges, sources.verdicts
    replay = run.once("replay", build_replay, answers, [*checks, *unchecked], plain, verdicts, options.replay)
    rehearsed = (*known, *(p.id for p in rehearsals))
    return replace(course, replayed=add_rows(course.replayed, replay), rehearsed=rehearsed)


def split_replay(rows: Sequence[Example]) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Rows to learn, and rows of replay."""
    lessons = tuple(row for row in rows if row.origin in ("revision", "given"))
    return lessons, tuple(row for row in rows if row.origin not in ("revision", "given"))


def train_under_gates(
    run: Run, examples: Sequence[Example], course: PrincipleState, roles: Roles, inputs: Inputs
) -> PrincipleState:
    """A policy from the rows, in the folder where they were made. Where gate says that it is worse, once more with more
    replay in a folder of its own, and in the end the policy that was there before."""
    options, base = inputs.options, inputs.principles.tuning_base or inputs.start
    looks = (options.gates.retries + 1) * (1 + options.self_align.clone)

    def attempt(tries: int) -> tuple[tuple[PolicyTrial, int], Decision]:
        folder = course.folder + tries
        plan = TrialPlan(base, tries, looks)
        trial = try_policy(run.steps(f"{folder:03d}"), course, examples, plan, roles, inputs)
        return (trial, folder), trial.decision

    (trial, folder), decision = try_until_decided(attempt, options.gates)
    after = course if trial.rejected else trial.accept_into(course)
    return replace(after, folder=folder, stopped=decision.reason)


def measure_final(run: Run, course: PrincipleState, roles: Roles, inputs: Inputs) -> PrincipleState:
    """The scores after, and what a next run needs."""
    score_heldout(run.steps("final"), course.policy, roles, inputs)
    return save_state(run, course)


def save_state(run: Run, course: PrincipleState) -> PrincipleState:
    """What a next run needs."""
    run.steps("final").once("handover", build_handover, course.handover)
    return course
