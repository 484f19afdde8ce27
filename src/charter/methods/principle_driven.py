"""What the methods that begin with rules share: how a run begins and ends, verification, replay, tuning under gates. A
part of methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from charter.constitution.document import Constitution
from charter.constitution.exemplars import Exemplar, HumanLines, human_lines
from charter.constitution.run_state import RunState
from charter.data.instructing.instruction_records import SelfInstructInputs
from charter.judging.rubrics import CONDUCT, HELP, REPLAY, Rubric
from charter.methods.benchmark_evaluation import measure_gate_benchmarks, run_benchmarks
from charter.methods.row_curation import curate_rows
from charter.ports import Roles
from charter.records.chat import Exchange, Prompt, Sampling
from charter.records.measurements import Measurement, Score, Split
from charter.records.model_refs import ModelRef
from charter.records.revisions import Revision
from charter.records.rules import Lookalikes, Norm
from charter.records.training_rows import Example
from charter.records.verdicts import Finding, Verdict
from charter.run import Run, Steps
from charter.similarity.splits import LeakageFilter
from charter.spec import MethodOptions
from charter.stages.accept import accept
from charter.stages.clustering import cluster
from charter.stages.contrast import contrast
from charter.stages.critique_rounds import accept_unjudged, select_for_check, split_by_prompt
from charter.stages.curate import CurationSetup
from charter.stages.draw import draw, exclude_protected
from charter.stages.evaluator_scores import break_down_scores, compute_scores, measure
from charter.stages.gate_checks import check_gates, detect_collapse
from charter.stages.judge import judge
from charter.stages.norm_application import build_handover
from charter.stages.preference_pairs import repeat_prompts
from charter.stages.probe import probe
from charter.stages.replay import build_replay, build_training_mix, select_replay_prompts
from charter.stages.tune import tune
from charter.stages.verification import select_for_help_check, to_examples, verify
from charter.templates import Templates


@dataclass(frozen=True)
class PrincipleInputs:
    """What is to be aligned, under which rules, with what, and how. ``base``: the model to be tuned, where it is not
    ``start``; ``norms``: what people decided in a run that goes on from another one; ``written``: prompts that
    self-instruct wrote in the step before; ``rows``: those of files; ``samples``: answers to each prompt
    that is rehearsed."""

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
    norms: tuple[Norm, ...] = ()
    constitution: Constitution = field(default_factory=Constitution)
    exemplars: Sequence[Exemplar] = ()
    instructions: SelfInstructInputs | None = None
    generated_prompts: tuple[Prompt, ...] = ()
    rows: tuple[Example, ...] = ()
    tuning_base: ModelRef | None = None
    sifting: CurationSetup | None = None
    samples: int = 1

    @property
    def helpfulness_rubric(self) -> Rubric:
        """Whether a response helps, under what people decided."""
        return HELP.model_copy(update={"norms": self.norms})

    @property
    def replay_rubric(self) -> Rubric:
        """Whether a harmless request is answered well, under what people decided."""
        return REPLAY.model_copy(update={"norms": self.norms})


@dataclass(frozen=True)
class PrincipleState:
    """Where a method stands: its prompts, the policy so far, the rows behind it (its own and replayed ones), gate
    scores of the start and of each accepted policy, gate measurements of the start and of the last one, what was found,
    and the number of the last folder."""

    prompts: Sequence[Prompt]
    helpful: Sequence[Prompt]
    policy: ModelRef
    history: tuple[Sequence[Score], ...]
    gate_measurements: tuple[Sequence[Measurement], ...]
    constitution: Constitution
    examples: tuple[Example, ...] = ()
    replayed: tuple[Example, ...] = ()
    rehearsed: tuple[str, ...] = ()
    probed: tuple[str, ...] = ()
    causes: tuple[Finding, ...] = ()
    folder: int = 0
    stopped: str = ""


def measure_baseline(run: Steps, roles: Roles, brief: PrincipleInputs) -> PrincipleState:
    """Prompts in their order, the rules, how much people wrote, and the scores before."""
    course = set_up(run, brief)
    measured, gate = score_policy(run, "gate", course.policy, roles, brief)
    measured, _ = measure_gate_benchmarks(run, course.policy, measured, roles, brief.answers)
    score_policy(run, "heldout", course.policy, roles, brief)
    run_benchmarks(run, course.policy, brief.start, roles.suite, brief.answers)
    return replace(course, history=(gate,), gate_measurements=(measured,))


def set_up(run: Steps, brief: PrincipleInputs) -> PrincipleState:
    """The same without scores: for a method that tunes nothing."""
    prompts = run.once("prompts", draw, brief.redteam, brief.guard, brief.options.draw)
    helpful = run.once("helpful", exclude_protected, brief.helpful, brief.guard)
    constitution = run.once("constitution", record_constitution, brief.constitution)
    given = brief.instructions
    seeds = (len(given.seeds), len(given.types)) if given is not None else (0, 0)
    left = brief.given
    counted = left is not None and left.constitution == constitution  # where they were written
    fresh = Constitution() if counted else constitution
    run.once("supervision", count_supervision, fresh, brief.exemplars, seeds, len(prompts) + len(helpful))
    policy = left.policy if left is not None else brief.start
    course = PrincipleState(prompts, helpful, policy, (), (), constitution)
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


def record_constitution(constitution: Constitution) -> Constitution:
    """The rules that a method begins with."""
    return constitution


def count_supervision(
    constitution: Constitution, exemplars: Sequence[Exemplar], seeds: tuple[int, int], prompts: int
) -> HumanLines:
    """How much people wrote; of ``seeds`` the second are question types."""
    return human_lines(constitution, exemplars, *seeds, prompts)


def make_lookalikes(run: Steps, found: Sequence[Finding], roles: Roles, brief: PrincipleInputs) -> list[Lookalikes]:
    """Look-alikes of the failures; none where the spec asks for none."""
    options = brief.options
    clusters = run.once("clusters", cluster, found, options.cluster)
    wanted = (options.contrast, options.cluster)
    return run.map("lookalikes", contrast, clusters, roles.proposer, brief.guard, brief.templates, wanted)


def verify_revisions(
    run: Steps,
    revisions: Sequence[Revision],
    hard: tuple[Sequence[Prompt], Sequence[Verdict]],
    course: PrincipleState,
    roles: Roles,
    brief: PrincipleInputs,
) -> list[Example]:
    """The rows that pass. ``hard``: the prompts whose answers are judged by conduct (others: whether they answer a
    harmless request well), and verdicts that are known already."""
    options, texts, (prompts, known) = brief.options, brief.templates, hard
    attempts = run.once("attempts", split_by_prompt, revisions, prompts, True)
    ordinary = run.once("ordinary", split_by_prompt, revisions, prompts, False)
    judged_already = {v.id for v in known}
    left = [r.exchange for r in attempts if r.id not in judged_already]
    checked = run.once("unjudged", select_for_check, left, options.keep)
    rechecks = run.map("rechecks", judge, checked, roles.judge, brief.rubric, texts, options.judge)
    answered = run.once("ordinary_answers", select_for_check, [r.exchange for r in ordinary], options.keep)
    passes = run.map("ordinary_verdicts", judge, answered, roles.judge, brief.replay_rubric, texts, options.judge)
    judged = [*known, *rechecks]
    complying = run.once("complying", select_for_help_check, attempts, judged, options.keep)
    exchanges = [r.exchange for r in complying]
    helps = run.map("helps", judge, exchanges, roles.judge, brief.helpfulness_rubric, texts, options.judge)
    keeping = (options.keep, options.replay)
    kept = run.once("kept", verify, revisions, ([*judged, *passes], helps), course.examples, keeping)
    run.once("alarms", detect_collapse, ((sum(k.kept for k in kept), len(kept)),), options.gates)
    return run.once("examples", to_examples, kept)


def add_replay(
    run: Steps,
    plain: tuple[Sequence[Lookalikes], Sequence[Exchange], Sequence[Verdict]],
    fresh: int,
    course: PrincipleState,
    roles: Roles,
    brief: PrincipleInputs,
) -> PrincipleState:
    """Replay for ``fresh`` new rows: the starting model's answers to look-alikes and ordinary prompts, and what already
    complied among the ``plain`` answers."""
    options, texts, (lookalikes, exchanges, verdicts) = brief.options, brief.templates, plain
    missing = round(options.replay.ratio * (len(course.examples) + fresh)) - len(course.replayed)
    known = course.rehearsed
    asked = run.once("rehearsals", select_replay_prompts, lookalikes, course.helpful, known, missing, options.replay)
    with roles.target(brief.start) as starting:
        answers = run.map("answers", probe, asked, starting, brief.answers)
        if (further := brief.samples - 1) > 0:
            anew = run.once("asked_again", repeat_prompts, asked, further)
            drawing = brief.answers.model_copy(update={"temperature": options.cai.temperature})
            answers = [*answers, *run.map("answers_again", probe, anew, starting, drawing)]
    judged = run.once("judged_answers", select_for_check, answers, options.keep)
    checks = run.map("checks", judge, judged, roles.judge, brief.replay_rubric, texts, options.judge)
    taken = run.once("unchecked", accept_unjudged, answers, options.keep)
    replayed = run.once("replay", build_replay, answers, [*checks, *taken], exchanges, verdicts, options.replay)
    rehearsed = (*known, *(p.id for p in asked))
    return replace(course, replayed=(*course.replayed, *replayed), rehearsed=rehearsed)


def split_replay(rows: Sequence[Example]) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Rows to learn, and rows of replay."""
    lessons = tuple(row for row in rows if row.origin in ("revision", "given"))
    return lessons, tuple(row for row in rows if row.origin not in ("revision", "given"))


def train_under_gates(
    run: Run, examples: Sequence[Example], course: PrincipleState, roles: Roles, brief: PrincipleInputs
) -> PrincipleState:
    """A policy from the rows, in the folder where they were made; where gate says that it is worse, once more with more
    replay in a folder of its own, and in the end the policy that was there before."""
    options, base = brief.options, brief.tuning_base or brief.start
    looks = (options.gates.retries + 1) * (1 + options.self_align.clone)
    for tries in range(options.gates.retries + 1):
        folder = run.steps(f"{course.folder + tries:03d}")
        more, share = options.gates.retry_settings(tries)
        mixing = (options.replay, options.tune, more)
        mixed = folder.once("rows", build_training_mix, course.examples, examples, course.replayed, mixing)
        ready = curate_rows(folder, mixed, roles, brief)
        policy = folder.once("policy", tune, base, course.policy, ready, roles.tuner, options.tune, share)
        measured, gate = score_policy(folder, "gate", policy, roles, brief)
        measured, known = measure_gate_benchmarks(folder, policy, measured, roles, brief.answers)
        held = folder.once("gates", check_gates, course.gate_measurements, measured, known, options.gates, looks)
        deciding = (options.stop, options.gates, tries)
        decision = folder.once("decision", accept, course.history, gate, held, len(examples), deciding)
        if decision.action not in ("roll_back", "give_up"):
            return replace(
                course,
                policy=policy,
                history=(*course.history, gate),
                gate_measurements=(course.gate_measurements[0], measured),
                examples=(*course.examples, *examples),
                folder=course.folder + tries,
                stopped=decision.reason,
            )
    return replace(course, folder=course.folder + tries, stopped=decision.reason)


def measure_final(run: Run, course: PrincipleState, roles: Roles, brief: PrincipleInputs) -> PrincipleState:
    """The scores after, and what a next run needs."""
    end = run.steps("final")
    score_policy(end, "heldout", course.policy, roles, brief)
    run_benchmarks(end, course.policy, brief.start, roles.suite, brief.answers)
    return save_state(run, course)


def save_state(run: Run, course: PrincipleState) -> PrincipleState:
    """What a next run needs."""
    end = run.steps("final")
    made, seen = (course.examples, course.replayed), (course.rehearsed, course.probed)
    end.once("handover", build_handover, course.policy, course.constitution, made, seen, course.causes)
    return course


def score_policy(
    run: Steps, split: Split, policy: ModelRef, roles: Roles, brief: PrincipleInputs
) -> tuple[list[Measurement], list[Score]]:
    """The evaluator's measurements and scores of a policy on gate or held-out; held-out is broken down by what is known
    of its prompts."""
    with roles.target(policy) as target:
        prompts = roles.benchmark.prompts(split)
        exchanges = run.map(f"{split}_exchanges", probe, prompts, target, brief.answers)
    measured = run.map(f"{split}_measurements", measure, exchanges, roles.benchmark)
    if split == "heldout":
        run.once("heldout_breakdown", break_down_scores, exchanges, measured, roles.benchmark)
    return measured, run.once(f"{split}_scores", compute_scores, measured, roles.benchmark)
