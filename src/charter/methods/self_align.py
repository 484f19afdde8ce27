"""SELF-ALIGN (Sun et al., NeurIPS 2023, arXiv 2305.03047): write prompts, think under principles and answer, engrave
the answers without the principles, and (if asked for) clone longer ones.

Every departure from the paper is a named switch of ``Options``; the recipe ``self_align-paper`` has the faithful
setting.

1. self_align.prompts: red-team and ordinary prompts of sources (paper: all written by self-instruct, see there).
2. constitution, self_align.exemplars: rules and exemplars of our own, in the model's chat format (paper: as text).
3. contrast: look-alikes of what the model fails on are answered too (not in the paper).
4. keep: only answers that a judge passes become rows (paper: all that pass the filters).
5. replay: the starting model's good answers beside them (not in the paper).
6. tune, gates: small batches; gate decides whether the policy is used (paper: one epoch, large batches, as it is).
7. self_align.clone: verbose cloning is off (paper: on). The place where RLHF follows is the next of ``steps``.

Each stage is a method by itself, too: ``self_instruct`` (see there), ``think``, ``engrave`` and ``clone``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from charter.methods.self_instruct import self_instruct
from charter.methods.sifting import sifted as curated
from charter.methods.teaching import (
    Brief,
    Course,
    begin,
    engrave,
    finish,
    leave,
    likenesses,
    parted,
    ready,
    rehearse,
    verify,
)
from charter.nouns import Example, Prompt
from charter.ports import Roles
from charter.run import Run
from charter.stages.judging import judge, violations
from charter.stages.keep import clear, rows
from charter.stages.probe import probe
from charter.stages.rehearse import gathered
from charter.stages.think import asked, lengthened, passed, sift, think, worth_probing

Asked = tuple[Sequence[Prompt], Sequence[Prompt]]
"""Prompts, and those whose answers are judged by conduct."""


def self_align(run: Run, roles: Roles, brief: Brief) -> Course:
    """Aligns ``brief.start`` under ``brief.constitution``. Each name on the left is a file of the run."""
    written = instructed(run, roles, brief)
    course = begin(run.steps("000"), roles, brief)
    asked, examples, course = answered(run, written, course, roles, brief)
    course = engrave(run, [*examples, *dialogues(run, brief)], course, roles, brief)
    return finish(run, cloned(run, asked, course, roles, brief), roles, brief)


def dialogues(run: Run, brief: Brief) -> list[Example]:
    """Rows of files that are engraved beside the answers, such as dialogues that say who the model is."""
    if not brief.rows:
        return []
    folder = run.steps("001")
    return folder.once("dialogues", rows, folder.once("given", clear, brief.rows, brief.guard))


def think_alone(run: Run, roles: Roles, brief: Brief) -> Course:
    """Answers under the rules, filtered and verified, with their replay: rows, and no policy."""
    folder = run.steps("001")
    written = instructed(run, roles, brief)
    course = ready(run.steps("000"), brief)
    _, examples, course = answered(run, written, course, roles, brief)
    made = folder.once("rows", gathered, examples, course.replayed)
    lessons, replayed = parted(curated(folder, made, roles, brief))
    course = replace(course, examples=(*course.examples, *lessons), replayed=replayed)
    counts = f"{len(course.examples)} rows to learn and {len(course.replayed)} of replay"
    return leave(run, replace(course, stopped=f"all prompts were answered: {counts}"))


def engrave_alone(run: Run, roles: Roles, brief: Brief) -> Course:
    """A policy from rows that are there already, those of files or of the step before, with replay and under gates."""
    folder = run.steps("001")
    start = begin(run.steps("000"), roles, brief)
    course = start if brief.rows else replace(start, examples=(), replayed=())
    kept = folder.once("kept", clear, brief.rows or (*start.examples, *start.replayed), brief.guard)
    lessons, replayed = parted(folder.once("examples", rows, kept))
    had = {"\n".join(m.content for m in row.messages) for row in replayed}
    rehearsed = (*course.rehearsed, *(p.id for p in course.helpful if p.text in had))
    course = replace(course, replayed=(*course.replayed, *replayed), rehearsed=rehearsed, folder=1)
    course = rehearse(folder, ((), (), ()), len(lessons), course, roles, brief)
    return finish(run, last_good(start, engrave(run, lessons, course, roles, brief)), roles, brief)


def clone_alone(run: Run, roles: Roles, brief: Brief) -> Course:
    """Verbose cloning of the policy that the run goes on from (of the target, where it goes on from none)."""
    folder, options = run.steps("001"), brief.options
    written = instructed(run, roles, brief)
    course = begin(run.steps("000"), roles, brief)
    batch = course.prompts[: options.draw.batch]
    prompts = folder.once("asked", asked, batch, (), course.helpful, written, options.self_align)
    course = replace(course, probed=(*course.probed, *(p.id for p in batch)))
    course = rehearse(folder, ((), (), ()), len(prompts), course, roles, brief)
    return finish(run, at_length(run, (prompts, [*batch, *written]), (), course, roles, brief), roles, brief)


def answered(
    run: Run, written: Sequence[Prompt], course: Course, roles: Roles, brief: Brief
) -> tuple[Asked, Sequence[Example], Course]:
    """Thoughts and answers to what is asked, the rows that pass filters and judge, and a course with their replay."""
    options, folder = brief.options, run.steps("001")
    batch = course.prompts[: options.draw.batch]
    with roles.target(course.policy) as target:
        probed = folder.once("probed", worth_probing, batch, options.contrast, options.replay)
        exchanges = folder.map("exchanges", probe, probed, target, brief.answers)
        asking = (brief.rubric, brief.templates, options.judge)
        verdicts = folder.map("verdicts", judge, exchanges, roles.judge, *asking)
        findings = folder.once("findings", violations, exchanges, verdicts)
        lookalikes = likenesses(folder, findings, roles, brief)
        prompts = folder.once("asked", asked, batch, lookalikes, course.helpful, written, options.self_align)
        rules = (course.constitution, brief.exemplars)
        how = (options.self_align, options.reflect)
        reasoned = folder.map("reasoned", think, prompts, target, rules, brief.templates, how)
    sifted = folder.once("sifted", sift, reasoned, brief.exemplars, options.self_align)
    revisions = folder.once("revisions", passed, sifted)
    hard = [*batch, *written]
    examples = verify(folder, revisions, (hard, ()), course, roles, brief)
    course = replace(
        rehearse(folder, (lookalikes, exchanges, verdicts), len(examples), course, roles, brief),
        probed=(*course.probed, *(p.id for p in batch)),
        found=(*course.found, *findings),
        folder=1,
    )
    return (prompts, hard), examples, course


def instructed(run: Run, roles: Roles, brief: Brief) -> Sequence[Prompt]:
    """What self-instruct writes, or wrote in the step before; nothing where the prompts are the sources'."""
    if brief.instructions is None:
        return brief.written
    folder = run.steps("instruct")
    if brief.instructions.options.generator == "proposer":
        return self_instruct(folder, roles.proposer, brief.instructions).prompts
    with roles.target(brief.start) as target:
        return self_instruct(folder, target, brief.instructions).prompts


def cloned(run: Run, asked: Asked, course: Course, roles: Roles, brief: Brief) -> Course:
    """Verbose cloning after engraving; the same course where it is off."""
    if not brief.options.self_align.clone:
        return course
    before = brief.given.examples if brief.given is not None else ()
    return at_length(run, asked, before, course, roles, brief)


def at_length(
    run: Run, asked: Asked, before: tuple[Example, ...], course: Course, roles: Roles, brief: Brief
) -> Course:
    """The policy answers the same prompts at length, and the starting model learns these answers, beside the rows that
    were there ``before``, without being told to. Where gate refuses, the policy stays."""
    (prompts, hard), number = asked, course.folder + 1
    folder = run.steps(f"{number:03d}")
    with roles.target(course.policy) as target:
        revisions = folder.map("revisions", lengthened, prompts, target, brief.templates, brief.options.self_align)
    anew = replace(course, examples=before, folder=number)
    examples = verify(folder, revisions, (hard, ()), anew, roles, brief)
    return last_good(course, engrave(run, examples, anew, roles, brief))


def last_good(before: Course, after: Course) -> Course:
    """The later course; where its policy was not used, the earlier one with what was said of that."""
    return after if after.policy != before.policy else replace(before, folder=after.folder, stopped=after.stopped)
