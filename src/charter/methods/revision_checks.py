"""Which revisions become training rows. A part of methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from charter.methods.inputs import Inputs
from charter.methods.policy_state import PolicyState
from charter.methods.reflection import JudgedRevisions
from charter.ports import Roles
from charter.records.training_rows import Example
from charter.records.verdicts import Verdict
from charter.runs import Steps
from charter.stages.gate_checks import detect_collapse
from charter.stages.judge import judge
from charter.stages.reflect import revised_exchanges
from charter.stages.verification import select_for_help_check, to_examples, verify

S = TypeVar("S", bound=PolicyState)


def keep_revisions(
    run: Steps,
    judged: JudgedRevisions,
    state: S,
    roles: Roles,
    inputs: Inputs,
    ordinary: Sequence[Verdict] = (),
) -> tuple[list[Example], S]:
    """The rows that pass, and the state with the share that did. An alarm about that share stops nothing.

    Args:
        run: The folder in which the steps are kept.
        judged: The revisions, with the verdicts on their conduct.
        state: Where the method stands.
        roles: Who judges.
        inputs: What the method is given.
        ordinary: Verdicts on answers to ordinary prompts, which no rubric of conduct is asked about.
    """
    options, revisions, verdicts = inputs.options, judged.revisions, judged.verdicts
    complying = run.once("complying", select_for_help_check, revisions, verdicts, options.keep)
    helps = run.map(
        "helps", judge, revised_exchanges(complying), roles.judge, *inputs.judge_arguments(inputs.helpfulness_rubric)
    )
    known = [*verdicts, *ordinary]
    kept = run.once("kept", verify, revisions, known, helps, state.examples, options.keep, options.replay.ratio)
    counts = (*state.pass_counts, (sum(k.kept for k in kept), len(kept)))
    run.once("alarms", detect_collapse, counts, options.gates)
    examples = run.once("examples", to_examples, kept)
    return examples, replace(state, pass_counts=counts)
