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

from charter.methods.principle_driven import (
    PrincipleInputs,
    PrincipleState,
    add_replay,
    make_lookalikes,
    measure_baseline,
    measure_final,
    save_state,
    set_up,
    split_replay,
    train_under_gates,
    verify_revisions,
)
from charter.methods.row_curation import curate_rows as curated
from charter.methods.self_instruct import self_instruct
from charter.ports import Roles
from charter.records.chat import Prompt
from charter.records.training_rows import Example
from charter.run import Run
from charter.stages.judge import judge, select_violations
from charter.stages.probe import probe
from charter.stages.replay import merge_rows
from charter.stages.think import (
    answer_verbosely,
    collect_prompts,
    filter_answers,
    select_for_probing,
    select_passed,
    think,
)
from charter.stages.verification import drop_protected, to_examples

PromptsByKind = tuple[Sequence[Prompt], Sequence[Prompt]]
"""Prompts, and those whose answers are judged by conduct."""


def self_align(run: Run, roles: Roles, brief: PrincipleInputs) -> PrincipleState:
    """Aligns ``brief.start`` under ``brief.constitution``. Each name on the left is a file of the run."""
    written = generate_prompts(run, roles, brief)
    course = measure_baseline(run.steps("000"), roles, brief)
    asked, examples, course = answer_under_rules(run, written, course, roles, brief)
    course = train_under_gates(run, [*examples, *load_given_rows(run, brief)], course, roles, brief)
    return measure_final(run, clone_verbosely(run, asked, course, roles, brief), roles, brief)


def load_given_rows(run: Run, brief: PrincipleInputs) -> list[Example]:
    """Rows of files that are engraved beside the answers, such as dialogues that say who the model is."""
    if not brief.rows:
        return []
    folder = run.steps("001")
    return folder.once("dialogues", to_examples, folder.once("given", drop_protected, brief.rows, brief.guard))


def think_alone(run: Run, roles: Roles, brief: PrincipleInputs) -> PrincipleState:
    """Answers under the rules, filtered and verified, with their replay: rows, and no policy."""
    folder = run.steps("001")
    written = generate_prompts(run, roles, brief)
    course = set_up(run.steps("000"), brief)
    _, examples, course = answer_under_rules(run, written, course, roles, brief)
    made = folder.once("rows", merge_rows, examples, course.replayed)
    lessons, replayed = split_replay(curated(folder, made, roles, brief))
    course = replace(course, examples=(*course.examples, *lessons), replayed=replayed)
    counts = f"{len(course.examples)} rows to learn and {len(course.replayed)} of replay"
    return save_state(run, replace(course, stopped=f"all prompts were answered: {counts}"))


def engrave_alone(run: Run, roles: Roles, brief: PrincipleInputs) -> PrincipleState:
    """A policy from rows that are there already, those of files or of the step before, with replay and under gates."""
    folder = run.steps("001")
    start = measure_baseline(run.steps("000"), roles, brief)
    course = start if brief.rows else replace(start, examples=(), replayed=())
    kept = folder.once("kept", drop_protected, brief.rows or (*start.examples, *start.replayed), brief.guard)
    lessons, replayed = split_replay(folder.once("examples", to_examples, kept))
    had = {"\n".join(m.content for m in row.messages) for row in replayed}
    rehearsed = (*course.rehearsed, *(p.id for p in course.helpful if p.text in had))
    course = replace(course, replayed=(*course.replayed, *replayed), rehearsed=rehearsed, folder=1)
    course = add_replay(folder, ((), (), ()), len(lessons), course, roles, brief)
    return measure_final(
        run, keep_last_good(start, train_under_gates(run, lessons, course, roles, brief)), roles, brief
    )


def clone_alone(run: Run, roles: Roles, brief: PrincipleInputs) -> PrincipleState:
    """Verbose cloning of the policy that the run goes on from (of the target, where it goes on from none)."""
    folder, options = run.steps("001"), brief.options
    written = generate_prompts(run, roles, brief)
    course = measure_baseline(run.steps("000"), roles, brief)
    batch = course.prompts[: options.draw.batch]
    prompts = folder.once("asked", collect_prompts, batch, (), course.helpful, written, options.self_align)
    course = replace(course, probed=(*course.probed, *(p.id for p in batch)))
    course = add_replay(folder, ((), (), ()), len(prompts), course, roles, brief)
    return measure_final(
        run, train_on_verbose_answers(run, (prompts, [*batch, *written]), (), course, roles, brief), roles, brief
    )


def answer_under_rules(
    run: Run, written: Sequence[Prompt], course: PrincipleState, roles: Roles, brief: PrincipleInputs
) -> tuple[PromptsByKind, Sequence[Example], PrincipleState]:
    """Thoughts and answers to what is asked, the rows that pass filters and judge, and a course with their replay."""
    options, folder = brief.options, run.steps("001")
    batch = course.prompts[: options.draw.batch]
    with roles.target(course.policy) as target:
        probed = folder.once("probed", select_for_probing, batch, options.contrast, options.replay)
        exchanges = folder.map("exchanges", probe, probed, target, brief.answers)
        asking = (brief.rubric, brief.templates, options.judge)
        verdicts = folder.map("verdicts", judge, exchanges, roles.judge, *asking)
        findings = folder.once("findings", select_violations, exchanges, verdicts)
        lookalikes = make_lookalikes(folder, findings, roles, brief)
        prompts = folder.once("asked", collect_prompts, batch, lookalikes, course.helpful, written, options.self_align)
        rules = (course.constitution, brief.exemplars)
        how = (options.self_align, options.reflect)
        reasoned = folder.map("reasoned", think, prompts, target, rules, brief.templates, how)
    sifted = folder.once("sifted", filter_answers, reasoned, brief.exemplars, options.self_align)
    revisions = folder.once("revisions", select_passed, sifted)
    hard = [*batch, *written]
    examples = verify_revisions(folder, revisions, (hard, ()), course, roles, brief)
    course = replace(
        add_replay(folder, (lookalikes, exchanges, verdicts), len(examples), course, roles, brief),
        probed=(*course.probed, *(p.id for p in batch)),
        causes=(*course.causes, *findings),
        folder=1,
    )
    return (prompts, hard), examples, course


def generate_prompts(run: Run, roles: Roles, brief: PrincipleInputs) -> Sequence[Prompt]:
    """What self-instruct writes, or wrote in the step before; nothing where the prompts are the sources'."""
    if brief.instructions is None:
        return brief.generated_prompts
    folder = run.steps("instruct")
    if brief.instructions.options.generator == "proposer":
        return self_instruct(folder, roles.proposer, brief.instructions).prompts
    with roles.target(brief.start) as target:
        return self_instruct(folder, target, brief.instructions).prompts


def clone_verbosely(
    run: Run, asked: PromptsByKind, course: PrincipleState, roles: Roles, brief: PrincipleInputs
) -> PrincipleState:
    """Verbose cloning after engraving; the same course where it is off."""
    if not brief.options.self_align.clone:
        return course
    before = brief.given.examples if brief.given is not None else ()
    return train_on_verbose_answers(run, asked, before, course, roles, brief)


def train_on_verbose_answers(
    run: Run,
    asked: PromptsByKind,
    before: tuple[Example, ...],
    course: PrincipleState,
    roles: Roles,
    brief: PrincipleInputs,
) -> PrincipleState:
    """The policy answers the same prompts at length, and the starting model learns these answers, beside the rows that
    were there ``before``, without being told to. Where gate refuses, the policy stays."""
    (prompts, hard), number = asked, course.folder + 1
    folder = run.steps(f"{number:03d}")
    with roles.target(course.policy) as target:
        revisions = folder.map(
            "revisions", answer_verbosely, prompts, target, brief.templates, brief.options.self_align
        )
    anew = replace(course, examples=before, folder=number)
    examples = verify_revisions(folder, revisions, (hard, ()), anew, roles, brief)
    return keep_last_good(course, train_under_gates(run, examples, anew, roles, brief))


def keep_last_good(before: PrincipleState, after: PrincipleState) -> PrincipleState:
    """The later course; where its policy was not used, the earlier one with what was said of that."""
    return after if after.policy != before.policy else replace(before, folder=after.folder, stopped=after.stopped)
