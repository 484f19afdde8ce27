"""Train a policy, hold it against the gates, decide, and try again. A part of methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from charter.methods.benchmark_evaluation import measure_gate_benchmarks, score
from charter.methods.inputs import Inputs
from charter.methods.policy_state import PolicyState
from charter.methods.row_curation import curate_rows
from charter.ports import Roles
from charter.records.decisions import Decision, Retries
from charter.records.measurements import Measurement, Score
from charter.records.model_refs import ModelRef
from charter.records.training_rows import Example, add_rows
from charter.runs import Steps
from charter.spec import GateSpec
from charter.stages.accept import accept
from charter.stages.gate_checks import check_gates
from charter.stages.replay import build_training_mix
from charter.stages.tune import tune

S = TypeVar("S", bound=PolicyState)
T = TypeVar("T")


@dataclass(frozen=True)
class TrialPlan:
    """What a policy is tuned from (``base``), how often its rows were rolled back already (``tries``), and how many
    policies the run may hold against the gates (``looks``)."""

    base: ModelRef
    tries: int
    looks: int


@dataclass(frozen=True)
class PolicyTrial:
    """A policy, what gate says of it, and whether it stays."""

    policy: ModelRef
    examples: Sequence[Example]
    scores: Sequence[Score]
    measurements: Sequence[Measurement]
    decision: Decision

    @property
    def rejected(self) -> bool:
        """Whether the policy before stays."""
        return self.decision.action in ("roll_back", "give_up")

    def accept_into(self, state: S) -> S:
        """The state with this policy as the last one that was accepted."""
        return replace(
            state,
            policy=self.policy,
            history=(*state.history, self.scores),
            gate_measurements=(state.gate_measurements[0], self.measurements),
            examples=add_rows(state.examples, self.examples),
        )


def try_policy(
    run: Steps, state: PolicyState, examples: Sequence[Example], plan: TrialPlan, roles: Roles, inputs: Inputs
) -> PolicyTrial:
    """Tunes a policy on ``examples`` beside the rows that are there, and holds it against the gates. Rows that were
    rolled back are tried with more replay or a smaller step."""
    options, gating = inputs.options, inputs.options.gates
    more, share = gating.retry_settings(plan.tries)
    ratio = options.replay.ratio + more
    rows = run.once("rows", build_training_mix, state.examples, examples, state.replayed, ratio, options.tune.start)
    curated = curate_rows(run, rows, roles, inputs)
    policy = run.once("policy", tune, plan.base, state.policy, curated, roles.tuner, options.tune, share)
    scored = score(run, "gate", policy, roles, inputs.answers)
    measured, metrics = measure_gate_benchmarks(run, policy, scored.measurements, roles, inputs.answers)
    gates = run.once("gates", check_gates, state.gate_measurements, measured, metrics, gating, plan.looks)
    retries, patience = count_retries(gating, plan.tries), options.stop.patience
    decision = run.once("decision", accept, state.history, scored.scores, gates, len(examples), patience, retries)
    return PolicyTrial(policy, tuple(examples), scored.scores, measured, decision)


def try_until_decided(attempt: Callable[[int], tuple[T, Decision]], gating: GateSpec) -> tuple[T, Decision]:
    """Calls ``attempt`` with how often it was rolled back already, until its decision is another one."""
    for tries in range(gating.retries + 1):
        result, decision = attempt(tries)
        if decision.action != "roll_back":
            break
    return result, decision


def count_retries(gating: GateSpec, tries: int) -> Retries:
    """How often rows were rolled back, and how often they may be."""
    return Retries(gating.roll_back, gating.retries, tries)
