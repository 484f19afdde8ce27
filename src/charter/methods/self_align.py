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
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from charter.methods.self_instruct import self_instruct
from charter.methods.teaching import (
    Brief,
    Course,
    begin,
    engrave,
    finish,
    likenesses,
    rehearse,
    verify,
)
from charter.nouns import Prompt
from charter.ports import Roles
from charter.run import Run
from charter.stages.judging import judge, violations
from charter.stages.probe import probe
from charter.stages.think import asked, lengthened, passed, sift, think, worth_probing


def self_align(run: Run, roles: Roles, brief: Brief) -> Course:
    """Aligns ``brief.start`` under ``brief.constitution``. Each name on the left is a file of the run."""
    options = brief.options
    start, folder = run.steps("000"), run.steps("001")
    written = instructed(run, roles, brief)
    course = begin(start, roles, brief)
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
    course = engrave(run, examples, course, roles, brief)
    return finish(run, cloned(run, (prompts, hard), course, roles, brief), roles, brief)


def instructed(run: Run, roles: Roles, brief: Brief) -> tuple[Prompt, ...]:
    """What self-instruct writes; nothing where the prompts are the sources'."""
    if brief.instructions is None:
        return ()
    folder = run.steps("instruct")
    if brief.instructions.options.generator == "proposer":
        return self_instruct(folder, roles.proposer, brief.instructions).prompts
    with roles.target(brief.start) as target:
        return self_instruct(folder, target, brief.instructions).prompts


def cloned(
    run: Run, asked: tuple[Sequence[Prompt], Sequence[Prompt]], course: Course, roles: Roles, brief: Brief
) -> Course:
    """Verbose cloning: the engraved model answers the same prompts at length, and the starting model learns these
    answers without being told to. ``asked``: the prompts, and those whose answers are judged by conduct. The same
    course where it is off."""
    options, (prompts, hard) = brief.options.self_align, asked
    if not options.clone:
        return course
    folder = run.steps(f"{course.folder + 1:03d}")
    with roles.target(course.policy) as target:
        revisions = folder.map("revisions", lengthened, prompts, target, brief.templates, options)
    anew = replace(course, examples=brief.given.examples if brief.given is not None else (), folder=course.folder + 1)
    examples = verify(folder, revisions, (hard, ()), anew, roles, brief)
    after = engrave(run, examples, anew, roles, brief)
    return after if after.policy != course.policy else replace(course, folder=after.folder, stopped=after.stopped)
