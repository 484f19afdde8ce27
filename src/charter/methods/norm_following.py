"""What people decided is followed in a run that goes on from another one. A part of methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from charter.constitution.run_state import RunState
from charter.methods.inputs import Inputs
from charter.methods.policy_state import PolicyState
from charter.ports import Roles
from charter.records.chat import Prompt
from charter.records.model_refs import ModelRef
from charter.records.rules import NormPrompts
from charter.runs import NextStep, Steps
from charter.stages.judge import judge
from charter.stages.norm_application import (
    drop_contradicted_rows,
    find_doubtful_rows,
    norm_check_prompts,
    norm_training_prompts,
    write_norm_prompts,
)
from charter.stages.probe import probe
from charter.stages.replay import build_replay

S = TypeVar("S", bound=PolicyState)


@dataclass(frozen=True)
class NormedRun:
    """A run that goes on: what it was given, and the prompts that were written for each norm."""

    given: RunState
    norm_prompts: Sequence[NormPrompts] = ()


def write_prompts(run: Steps, policy: ModelRef, roles: Roles, inputs: Inputs) -> NormedRun | None:
    """The run that this one goes on from, with prompts that its norms decide about, and how far ``policy`` follows
    them; None where it goes on from none."""
    given = inputs.given
    if given is None:
        return None
    norm_prompts = run.map(
        "norm_prompts", write_norm_prompts, inputs.norms, roles.proposer, given, inputs.guard, inputs.templates
    )
    measure_norms(run, norm_prompts, policy, roles, inputs)
    return NormedRun(given, norm_prompts)


def take_over(state: S, given: RunState) -> S:
    """Where the old run ended."""
    return replace(
        state,
        constitution=given.constitution,
        examples=given.examples,
        replayed=given.replay_rows,
        rehearsed=given.replay_prompt_ids,
        probed=given.probed_prompt_ids,
        causes=given.findings,
    )


def apply_norms(run: Steps, state: S, before: NormedRun, roles: Roles, inputs: Inputs) -> tuple[S, list[Prompt]]:
    """The state under what people decided, and the prompts to be probed. Rows that a norm turns wrong are left out;
    good answers to what is allowed now join replay."""
    given, norms, written = before.given, inputs.norms, before.norm_prompts
    replay_judging = inputs.judge_arguments(inputs.replay_rubric)
    doubtful = run.once("doubtful", find_doubtful_rows, norms, given)
    doubtful_conduct = run.map("doubtful_conduct", judge, doubtful, roles.judge, *inputs.judge_arguments())
    doubtful_replays = run.map("doubtful_replays", judge, doubtful, roles.judge, *replay_judging)
    settled = run.once("settled", drop_contradicted_rows, given, norms, doubtful_conduct, doubtful_replays)
    allowed_prompts = run.once("allowed_prompts", norm_training_prompts, norms, written, False)
    with roles.target(inputs.start) as starting:
        checking = NextStep("allowed_checks", judge, roles.judge, *replay_judging)
        allowed_answers = run.map("allowed_answers", probe, allowed_prompts, starting, inputs.answers, then=checking)
    allowed_checks = run.map_next(checking, allowed_answers)
    allowed = run.once("allowed", build_replay, allowed_answers, allowed_checks, (), (), inputs.options.replay)
    norm_batch = run.once("norm_batch", norm_training_prompts, norms, written, True)
    replayed = (*settled.replay_rows, *allowed)
    constitution, examples = settled.constitution, settled.examples
    return replace(state, constitution=constitution, examples=examples, replayed=replayed), norm_batch


def measure_norms(run: Steps, written: Sequence[NormPrompts], policy: ModelRef, roles: Roles, inputs: Inputs) -> None:
    """Whether a policy follows what people decided, on prompts that no row is made of."""
    for name, holds, rubric in (("norms_held", True, inputs.rubric), ("norms_withdrawn", False, inputs.replay_rubric)):
        prompts = run.once(f"{name}_prompts", norm_check_prompts, inputs.norms, written, holds) if written else []
        if prompts:
            judging = NextStep(f"{name}_verdicts", judge, roles.measuring_judge, *inputs.judge_arguments(rubric))
            with roles.target(policy) as target:
                exchanges = run.map(f"{name}_exchanges", probe, prompts, target, inputs.answers, then=judging)
            run.map_next(judging, exchanges)
