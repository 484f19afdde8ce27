"""Red teaming alone: ask, judge, group the failures, score. Nothing is proposed and nothing is tuned, so it needs no
weights: a target that is only reached by HTTP will do.

Its steps have the names, and its prompts and seeds the order, that IterAlign has: ``000/heldout_scores`` are the scores
before, ``001`` what the first batch brings out.
"""

from __future__ import annotations

from dataclasses import dataclass

from charter.methods.benchmark_evaluation import ask_evaluator, grade_answers, run_benchmarks
from charter.methods.failure_clusters import cluster_failures
from charter.methods.inputs import Inputs
from charter.ports import Roles
from charter.records.measurements import Score
from charter.records.verdicts import Cluster
from charter.runs import NextStep, Run
from charter.stages.draw import draw
from charter.stages.judge import judge, select_violations
from charter.stages.probe import probe


@dataclass(frozen=True)
class RedTeamResult:
    """Failures by cluster, the held-out scores, and why it ended."""

    clusters: tuple[Cluster, ...]
    scores: tuple[Score, ...]
    stopped: str


def red_team(run: Run, roles: Roles, inputs: Inputs) -> RedTeamResult:
    """Probes ``inputs.start`` once, with one batch of ``draw.batch`` prompts."""
    start, folder, options = run.steps("000"), run.steps("001"), inputs.options
    prompts = start.once("prompts", draw, inputs.redteam, inputs.guard, options.draw)
    batch = prompts[: options.draw.batch]
    with roles.target(inputs.start) as target:
        heldout = ask_evaluator(start, "heldout", target, roles, inputs.answers)
        judging = NextStep("verdicts", judge, roles.judge, *inputs.judge_arguments())
        exchanges = folder.map("exchanges", probe, batch, target, inputs.answers, then=judging)
    run_benchmarks(start, inputs.start, inputs.start, roles.suite, inputs.answers)
    scored = grade_answers(start, "heldout", heldout)
    verdicts = folder.map_next(judging, exchanges)
    findings = folder.once("findings", select_violations, exchanges, verdicts)
    clusters = cluster_failures(folder, findings, roles, inputs)
    return RedTeamResult(tuple(clusters), tuple(scored.scores), "red teaming was done")
