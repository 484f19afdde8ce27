"""The evaluator's scores of a policy. A part of methods."""

from __future__ import annotations

from dataclasses import dataclass

from charter.methods.benchmark_evaluation import measure_gate_benchmarks, run_benchmarks
from charter.methods.inputs import Inputs
from charter.ports import Roles
from charter.records.chat import Exchange, Sampling
from charter.records.measurements import Measurement, Score, Split
from charter.records.model_refs import ModelRef
from charter.run import Steps
from charter.stages.evaluator_scores import break_down_scores, compute_scores, measure
from charter.stages.probe import probe


@dataclass(frozen=True)
class SplitScores:
    """What a policy answered to the prompts of a split, and what the evaluator measured and counted."""

    exchanges: list[Exchange]
    measurements: list[Measurement]
    scores: list[Score]


def score(run: Steps, split: Split, policy: ModelRef, roles: Roles, answers: Sampling) -> SplitScores:
    """Scores a policy on gate or held-out; held-out is broken down by what is known of its prompts, for reports."""
    with roles.target(policy) as target:
        exchanges = run.map(f"{split}_exchanges", probe, roles.benchmark.prompts(split), target, answers)
    measurements = run.map(f"{split}_measurements", measure, exchanges, roles.benchmark)
    if split == "heldout":
        run.once("heldout_breakdown", break_down_scores, exchanges, measurements, roles.benchmark)
    scores = run.once(f"{split}_scores", compute_scores, measurements, roles.benchmark)
    return SplitScores(exchanges, measurements, scores)


def score_start(run: Steps, policy: ModelRef, roles: Roles, inputs: Inputs) -> tuple[list[Score], list[Measurement]]:
    """Scores the policy to begin with on gate, on held-out and on the benchmarks that the spec names. Gives its gate
    scores, and the measurements that later policies are held against."""
    gate = score(run, "gate", policy, roles, inputs.answers)
    measurements, _ = measure_gate_benchmarks(run, policy, gate.measurements, roles, inputs.answers)
    score_heldout(run, policy, roles, inputs)
    return gate.scores, measurements


def score_heldout(run: Steps, policy: ModelRef, roles: Roles, inputs: Inputs) -> None:
    """Scores a policy on held-out and on the benchmarks that the spec names: for the report, no decision reads it."""
    score(run, "heldout", policy, roles, inputs.answers)
    run_benchmarks(run, policy, inputs.start, roles.suite, inputs.answers)
