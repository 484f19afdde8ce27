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
from dataclasses import dataclass, replace

from charter.methods.inputs import Inputs
from charter.methods.principle_driven import (
    JudgedByConduct,
    PrincipleState,
    ReplaySources,
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
from charter.methods.row_curation import curate_rows
from charter.methods.self_instruct import self_instruct
from charter.ports import Roles
from charter.records.chat import Prompt
from charter.records.training_rows import Example
from charter.runs import NextStep, Run
from charter.stages.judge import judge, select_violations
from charter.stages.probe import probe
from charter.stages.replay import merge_rows
from charter.stages.think import (
    ThinkingSetup,
    answer_verbosely,
    collect_prompts,
    filter_answers,
    select_for_probing,
    select_passed,
    think,
)
from charter.stages.verification import drop_protected, to_examples


@dataclass(frozen=True)
class AskedPrompts:
    """Prompts that were answered, and those of them whose answers are judged by conduct."""

    prompts: Sequence[Prompt]
    hard: Sequence[Prompt]


def self_align(run: Run, roles: Roles, inputs: Inputs) -> PrincipleState:
    """Aligns ``inputs.start`` under ``inputs.constitution``. Each name on the left of a step is a file."""
    written = generate_prompts(run, roles, inputs)
    course = measure_baseline(run.steps("000"), roles, inputs)
    asked, examples, course = answer_under_rules(run, written, course, roles, inputs)
    course = train_under_gates(run, [*examples, *load_given_rows(run, inputs)], course, roles, inputs)
    return measure_final(run, clone_verbosely(run, asked, course, roles, inputs), roles, inputs)


def load_given_rows(run: Run, inputs: Inputs) -> list[Example]:
    """Rows of files that are engraved beside the answers, such as dialogues that say who the model is."""
    if not inputs.principles.rows:
        return []
    folder = run.steps("001")
    given = folder.once("given", drop_protected, inputs.principles.rows, inputs.guard)
    dialogues = folder.once("dialogues", to_examples, given)
    return dialogues


def think_alone(run: Run, roles: Roles, inputs: Inputs) -> PrincipleState:
    """Answers under the rules, filtered and verified, with their replay: rows, and no policy."""
    folder = run.steps("001")
    written = generate_prompts(run, roles, inputs)
    course = set_up(run.steps("000"), inputs)
    _, examples, course = answer_under_rules(run, written, course, roles, inputs)
    rows = folder.once("rows", merge_rows, examples, course.replayed)
    lessons, replayed = split_replay(curate_rows(folder, rows, roles, inputs))
    course = replace(course, examples=(*course.examples, *lessons), replayed=replayed)
    counts = f"{len(course.examples)} rows to learn and {len(course.replayed)} of replay"
    return save_state(run, replace(course, stopped=f"all prompts were answered: {counts}"))


def engrave_alone(run: Run, roles: Roles, inputs: Inputs) -> PrincipleState:
    """A policy from rows that are there already, those of files or of the step before, with replay and under gates."""
    folder = run.steps("001")
    start = measure_baseline(run.steps("000"), roles, inputs)
    given = inputs.principles.rows
    course = start if given else replace(start, examples=(), replayed=())
    kept = folder.once("kept", drop_protected, given or (*start.examples, *start.replayed), inputs.guard)
    examples = folder.once("examples", to_examples, kept)
    lessons, replayed = split_replay(examples)
    had = {"\n".join(m.content for m in row.messages) for row in replayed}
    rehearsed = (*course.rehearsed, *(p.id for p in course.helpful if p.text in had))
    course = replace(course, replayed=(*course.replayed, *replayed), rehearsed=rehearsed, folder=1)
    course = add_replay(folder, ReplaySources(), len(lessons), course, roles, inputs)
    return measure_final(
        run, keep_last_good(start, train_under_gates(run, lessons, course, roles, inputs)), roles, inputs
    )


def clone_alone(run: Run, roles: Roles, inputs: Inputs) -> PrincipleState:
    """Verbose cloning of the policy that the run goes on from (of the target, where it goes on from none)."""
    folder, options = run.steps("001"), inputs.options
    written = generate_prompts(run, roles, inputs)
    course = measure_baseline(run.steps("000"), roles, inputs)
    batch = course.prompts[: options.draw.batch]
    asked = folder.once("asked", collect_prompts, batch, (), course.helpful, written, options.self_align)
    course = replace(course, probed=(*course.probed, *(p.id for p in batch)))
    course = add_replay(folder, ReplaySources(), len(asked), course, roles, inputs)
    return measure_final(
        run,
        train_on_verbose_answers(run, AskedPrompts(asked, [*batch, *written]), (), course, roles, inputs),
        roles,
        inputs,
    )


def answer_under_rules(
    run: Run, written: Sequence[Prompt], course: PrincipleState, roles: Roles, inputs: Inputs
) -> tuple[AskedPrompts, Sequence[Example], PrincipleState]:
    """Thoughts and answers to what is asked, the rows that pass filters and judge, and a course with their replay."""
    options, folder = inputs.options, run.steps("001")
    batch = course.prompts[: options.draw.batch]
    with roles.target(course.policy) as target:
        probed = folder.once("probed", select_for_probing, batch, options.contrast, options.replay)
        judging = NextStep("verdicts", judge, roles.judge, *inputs.judge_arguments())
        exchanges = folder.map("exchanges", probe, probed, target, inputs.answers, then=judging)
        verdicts = folder.map_next(judging, exchanges)
        findings = folder.once("findings", select_violations, exchanges, verdicts)
        lookalikes = make_lookalikes(folder, findings, roles, inputs)
        asked = folder.once("asked", collect_prompts, batch, lookalikes, course.helpful, written, options.self_align)
        exemplars, room = inputs.principles.exemplars, options.reflect.max_rule_characters
        setup = ThinkingSetup(course.constitution, exemplars, inputs.templates, room, roles.embedder)
        reasoned = folder.map("reasoned", think, asked, target, setup, options.self_align)
    sifted = folder.once("sifted", filter_answers, reasoned, exemplars, options.self_align)
    revisions = folder.once("revisions", select_passed, sifted)
    hard = [*batch, *written]
    examples = verify_revisions(folder, revisions, JudgedByConduct(hard), course, roles, inputs)
    course = replace(
        add_replay(folder, ReplaySources(lookalikes, exchanges, verdicts), len(examples), course, roles, inputs),
        probed=(*course.probed, *(p.id for p in batch)),
        causes=(*course.causes, *findings),
        folder=1,
    )
    return AskedPrompts(asked, hard), examples, course


def generate_prompts(run: Run, roles: Roles, inputs: Inputs) -> Sequence[Prompt]:
    """What self-instruct writes, or wrote in the step before; nothing where the prompts are the sources'."""
    instructions = inputs.principles.instructions
    if instructions is None:
        return inputs.principles.generated_prompts
    folder = run.steps("instruct")
    if instructions.options.generator == "proposer":
        return self_instruct(folder, roles.proposer, instructions).prompts
    with roles.target(inputs.start) as target:
        return self_instruct(folder, target, instructions).prompts


def clone_verbosely(
    run: Run, asked: AskedPrompts, course: PrincipleState, roles: Roles, inputs: Inputs
) -> PrincipleState:
    """Verbose cloning after engraving; the same course where it is off."""
    if not inputs.options.self_align.clone:
        return course
    before = inputs.given.examples if inputs.given is not None else ()
    return train_on_verbose_answers(run, asked, before, course, roles, inputs)


def train_on_verbose_answers(
    run: Run,
    asked: AskedPrompts,
    before: tuple[Example, ...],
    course: PrincipleState,
    roles: Roles,
    inputs: Inputs,
) -> PrincipleState:
    """The policy answers the same prompts at length, and the starting model learns these answers, beside the rows that
    were there ``before``, without being told to. Where gate refuses, the policy stays."""
    number = course.folder + 1
    folder = run.steps(f"{number:03d}")
    with roles.target(course.policy) as target:
        revisions = folder.map(
            "revisions", answer_verbosely, asked.prompts, target, inputs.templates, inputs.options.self_align
        )
    anew = replace(course, examples=before, folder=number)
    examples = verify_revisions(folder, revisions, JudgedByConduct(asked.hard), anew, roles, inputs)
    return keep_last_good(course, train_under_gates(run, examples, anew, roles, inputs))


def keep_last_good(before: PrincipleState, after: PrincipleState) -> PrincipleState:
    """The later course; where its policy was not used, the earlier one with what was said of that."""
    return after if after.policy != before.policy else replace(before, folder=after.folder, stopped=after.stopped)
