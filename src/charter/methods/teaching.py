"""What the methods that begin with rules share: how a run begins and ends, verification, replay, tuning under gates. A
part of methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from charter.constitution import Constitution
from charter.handover import Handover
from charter.instructing.records import Instructions
from charter.judging.rubrics import CONDUCT, HELP, REPLAY, Rubric
from charter.methods.exams import examine, gated
from charter.methods.sifting import sifted
from charter.nouns import (
    Example,
    Exchange,
    Finding,
    Lookalikes,
    Measurement,
    ModelRef,
    Norm,
    Prompt,
    Revision,
    Sampling,
    Score,
    Split,
    Verdict,
)
from charter.ports import Roles
from charter.run import Run, Steps
from charter.similarity import Guard
from charter.spec import Options
from charter.stages.accept import accept
from charter.stages.clustering import cluster
from charter.stages.contrast import contrast
from charter.stages.curate import Sifting
from charter.stages.draw import disjoint, draw
from charter.stages.evaluate import breakdown, measure, scores
from charter.stages.gates import collapse, gates
from charter.stages.judging import judge
from charter.stages.keep import keep, rows, worth_helping
from charter.stages.norms import hand_over
from charter.stages.pairs import copies
from charter.stages.probe import probe
from charter.stages.rehearse import mixture, rehearsals, replay
from charter.stages.rounds import of_batch, unchecked, worth_checking
from charter.stages.tune import tune
from charter.supervision import Exemplar, Supervision, supervision
from charter.templates import Templates


@dataclass(frozen=True)
class Brief:
    """What is to be aligned, under which rules, with what, and how. ``base``: the model to be tuned, where it is not
    ``start``; ``norms``: what people decided in a run that goes on from another one; ``written``: prompts that
    self-instruct wrote in the step before; ``rows``: those of files; ``samples``: answers to each prompt
    that is rehearsed."""

    start: ModelRef
    redteam: Sequence[Prompt]
    helpful: Sequence[Prompt]
    guard: Guard
    templates: Templates
    answers: Sampling
    critiques: Sampling
    options: Options
    rubric: Rubric = CONDUCT
    given: Handover | None = None
    norms: tuple[Norm, ...] = ()
    constitution: Constitution = field(default_factory=Constitution)
    exemplars: Sequence[Exemplar] = ()
    instructions: Instructions | None = None
    written: tuple[Prompt, ...] = ()
    rows: tuple[Example, ...] = ()
    base: ModelRef | None = None
    sifting: Sifting | None = None
    samples: int = 1

    @property
    def helps(self) -> Rubric:
        """Whether a response helps, under what people decided."""
        return HELP.model_copy(update={"norms": self.norms})

    @property
    def replays(self) -> Rubric:
        """Whether a harmless request is answered well, under what people decided."""
        return REPLAY.model_copy(update={"norms": self.norms})


@dataclass(frozen=True)
class Course:
    """Where a method stands: its prompts, the policy so far, the rows behind it (its own and replayed ones), gate
    scores of the start and of each accepted policy, gate measurements of the start and of the last one, what was found,
    and the number of the last folder."""

    prompts: Sequence[Prompt]
    helpful: Sequence[Prompt]
    policy: ModelRef
    history: tuple[Sequence[Score], ...]
    gated: tuple[Sequence[Measurement], ...]
    constitution: Constitution
    examples: tuple[Example, ...] = ()
    replayed: tuple[Example, ...] = ()
    rehearsed: tuple[str, ...] = ()
    probed: tuple[str, ...] = ()
    found: tuple[Finding, ...] = ()
    folder: int = 0
    stopped: str = ""


def begin(run: Steps, roles: Roles, brief: Brief) -> Course:
    """Prompts in their order, the rules, how much people wrote, and the scores before."""
    course = ready(run, brief)
    measured, gate = score(run, "gate", course.policy, roles, brief)
    measured, _ = gated(run, course.policy, measured, roles, brief.answers)
    score(run, "heldout", course.policy, roles, brief)
    examine(run, course.policy, brief.start, roles.examiners, brief.answers)
    return replace(course, history=(gate,), gated=(measured,))


def ready(run: Steps, brief: Brief) -> Course:
    """The same without scores: for a method that tunes nothing."""
    prompts = run.once("prompts", draw, brief.redteam, brief.guard, brief.options.draw)
    helpful = run.once("helpful", disjoint, brief.helpful, brief.guard)
    constitution = run.once("constitution", founded, brief.constitution)
    given = brief.instructions
    seeds = (len(given.seeds), len(given.types)) if given is not None else (0, 0)
    left = brief.given
    counted = left is not None and left.constitution == constitution  # where they were written
    fresh = Constitution() if counted else constitution
    run.once("supervision", told, fresh, brief.exemplars, seeds, len(prompts) + len(helpful))
    policy = left.policy if left is not None else brief.start
    course = Course(prompts, helpful, policy, (), (), constitution)
    if left is None:
        return course
    rest = [p for p in prompts if p.id not in left.probed] or prompts
    return replace(
        course,
        prompts=rest,
        examples=left.examples,
        replayed=left.replayed,
        rehearsed=left.rehearsed,
        probed=left.probed,
        found=left.causes,
    )


def founded(constitution: Constitution) -> Constitution:
    """The rules that a method begins with."""
    return constitution


def told(
    constitution: Constitution, exemplars: Sequence[Exemplar], seeds: tuple[int, int], prompts: int
) -> Supervision:
    """How much people wrote; of ``seeds`` the second are question types."""
    return supervision(constitution, exemplars, *seeds, prompts)


def likenesses(run: Steps, found: Sequence[Finding], roles: Roles, brief: Brief) -> list[Lookalikes]:
    """Look-alikes of the failures; none where the spec asks for none."""
    options = brief.options
    clusters = run.once("clusters", cluster, found, options.cluster)
    wanted = (options.contrast, options.cluster)
    return run.map("lookalikes", contrast, clusters, roles.proposer, brief.guard, brief.templates, wanted)


def verify(
    run: Steps,
    revisions: Sequence[Revision],
    hard: tuple[Sequence[Prompt], Sequence[Verdict]],
    course: Course,
    roles: Roles,
    brief: Brief,
) -> list[Example]:
    """The rows that pass. ``hard``: the prompts whose answers are judged by conduct (others: whether they answer a
    harmless request well), and verdicts that are known already."""
    options, texts, (prompts, known) = brief.options, brief.templates, hard
    attempts = run.once("attempts", of_batch, revisions, prompts, True)
    ordinary = run.once("ordinary", of_batch, revisions, prompts, False)
    judged_already = {v.id for v in known}
    left = [r.exchange for r in attempts if r.id not in judged_already]
    checked = run.once("unjudged", worth_checking, left, options.keep)
    rechecks = run.map("rechecks", judge, checked, roles.judge, brief.rubric, texts, options.judge)
    answered = run.once("ordinary_answers", worth_checking, [r.exchange for r in ordinary], options.keep)
    passes = run.map("ordinary_verdicts", judge, answered, roles.judge, brief.replays, texts, options.judge)
    judged = [*known, *rechecks]
    complying = run.once("complying", worth_helping, attempts, judged, options.keep)
    exchanges = [r.exchange for r in complying]
    helps = run.map("helps", judge, exchanges, roles.judge, brief.helps, texts, options.judge)
    keeping = (options.keep, options.replay)
    kept = run.once("kept", keep, revisions, ([*judged, *passes], helps), course.examples, keeping)
    run.once("alarms", collapse, ((sum(k.kept for k in kept), len(kept)),), options.gates)
    return run.once("examples", rows, kept)


def rehearse(
    run: Steps,
    plain: tuple[Sequence[Lookalikes], Sequence[Exchange], Sequence[Verdict]],
    fresh: int,
    course: Course,
    roles: Roles,
    brief: Brief,
) -> Course:
    """Replay for ``fresh`` new rows: the starting model's answers to look-alikes and ordinary prompts, and what already
    complied among the ``plain`` answers."""
    options, texts, (lookalikes, exchanges, verdicts) = brief.options, brief.templates, plain
    missing = round(options.replay.ratio * (len(course.examples) + fresh)) - len(course.replayed)
    known = course.rehearsed
    asked = run.once("rehearsals", rehearsals, lookalikes, course.helpful, known, missing, options.replay)
    with roles.target(brief.start) as starting:
        answers = run.map("answers", probe, asked, starting, brief.answers)
        if (further := brief.samples - 1) > 0:
            anew = run.once("asked_again", copies, asked, further)
            drawing = brief.answers.model_copy(update={"temperature": options.cai.temperature})
            answers = [*answers, *run.map("answers_again", probe, anew, starting, drawing)]
    judged = run.once("judged_answers", worth_checking, answers, options.keep)
    checks = run.map("checks", judge, judged, roles.judge, brief.replays, texts, options.judge)
    taken = run.once("unchecked", unchecked, answers, options.keep)
    replayed = run.once("replay", replay, answers, [*checks, *taken], exchanges, verdicts, options.replay)
    rehearsed = (*known, *(p.id for p in asked))
    return replace(course, replayed=(*course.replayed, *replayed), rehearsed=rehearsed)


def parted(rows: Sequence[Example]) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Rows to learn, and rows of replay."""
    lessons = tuple(row for row in rows if row.origin in ("revision", "given"))
    return lessons, tuple(row for row in rows if row.origin not in ("revision", "given"))


def engrave(run: Run, examples: Sequence[Example], course: Course, roles: Roles, brief: Brief) -> Course:
    """A policy from the rows, in the folder where they were made; where gate says that it is worse, once more with more
    replay in a folder of its own, and in the end the policy that was there before."""
    options, base = brief.options, brief.base or brief.start
    looks = (options.gates.retries + 1) * (1 + options.self_align.clone)
    for tries in range(options.gates.retries + 1):
        folder = run.steps(f"{course.folder + tries:03d}")
        more, share = options.gates.tries_with(tries)
        mixing = (options.replay, options.tune, more)
        mixed = folder.once("rows", mixture, course.examples, examples, course.replayed, mixing)
        ready = sifted(folder, mixed, roles, brief)
        policy = folder.once("policy", tune, base, course.policy, ready, roles.tuner, options.tune, share)
        measured, gate = score(folder, "gate", policy, roles, brief)
        measured, known = gated(folder, policy, measured, roles, brief.answers)
        held = folder.once("gates", gates, course.gated, measured, known, options.gates, looks)
        deciding = (options.stop, options.gates, tries)
        decision = folder.once("decision", accept, course.history, gate, held, len(examples), deciding)
        if decision.action not in ("roll_back", "give_up"):
            return replace(
                course,
                policy=policy,
                history=(*course.history, gate),
                gated=(course.gated[0], measured),
                examples=(*course.examples, *examples),
                folder=course.folder + tries,
                stopped=decision.reason,
            )
    return replace(course, folder=course.folder + tries, stopped=decision.reason)


def finish(run: Run, course: Course, roles: Roles, brief: Brief) -> Course:
    """The scores after, and what a next run needs."""
    end = run.steps("final")
    score(end, "heldout", course.policy, roles, brief)
    examine(end, course.policy, brief.start, roles.examiners, brief.answers)
    return leave(run, course)


def leave(run: Run, course: Course) -> Course:
    """What a next run needs."""
    end = run.steps("final")
    made, seen = (course.examples, course.replayed), (course.rehearsed, course.probed)
    end.once("handover", hand_over, course.policy, course.constitution, made, seen, course.found)
    return course


def score(
    run: Steps, split: Split, policy: ModelRef, roles: Roles, brief: Brief
) -> tuple[list[Measurement], list[Score]]:
    """The evaluator's measurements and scores of a policy on gate or held-out; held-out is broken down by what is known
    of its prompts."""
    with roles.target(policy) as target:
        prompts = roles.benchmark.prompts(split)
        exchanges = run.map(f"{split}_exchanges", probe, prompts, target, brief.answers)
    measured = run.map(f"{split}_measurements", measure, exchanges, roles.benchmark)
    if split == "heldout":
        run.once("heldout_breakdown", breakdown, exchanges, measured, roles.benchmark)
    return measured, run.once(f"{split}_scores", scores, measured, roles.benchmark)
