"""Red teaming alone: ask, judge, group the failures, score. Nothing is proposed and nothing is tuned, so it needs no
weights: a target that is only reached by HTTP will do.

Its steps have the names, and its prompts and seeds the order, that IterAlign has: ``000/heldout_scores`` are the scores
before, ``001`` what the first batch brings out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from charter.judging.rubrics import CONDUCT, Rubric
from charter.methods.benchmark_evaluation import run_benchmarks
from charter.ports import Roles
from charter.records.chat import Prompt, Sampling
from charter.records.measurements import Score
from charter.records.model_refs import ModelRef
from charter.records.verdicts import Cluster
from charter.run import Run
from charter.similarity.splits import LeakageFilter
from charter.spec import MethodOptions
from charter.stages.clustering import cluster
from charter.stages.draw import draw
from charter.stages.evaluator_scores import compute_scores, measure
from charter.stages.judge import judge, select_violations
from charter.stages.probe import probe
from charter.templates import Templates


@dataclass(frozen=True)
class RedTeamInputs:
    """Who is asked, what, and how; of ``options`` it reads draw (one batch of ``draw.batch``), judge and cluster."""

    start: ModelRef
    redteam: Sequence[Prompt]
    guard: LeakageFilter
    templates: Templates
    answers: Sampling
    options: MethodOptions
    rubric: Rubric = CONDUCT


@dataclass(frozen=True)
class RedTeamResult:
    """Failures by cluster, the held-out scores, and why it ended."""

    clusters: tuple[Cluster, ...]
    scores: tuple[Score, ...]
    stopped: str


def red_team(run: Run, roles: Roles, battery: RedTeamInputs) -> RedTeamResult:
    """Probes ``battery.start`` once."""
    start, folder, options = run.steps("000"), run.steps("001"), battery.options
    prompts = start.once("prompts", draw, battery.redteam, battery.guard, options.draw)
    batch = prompts[: options.draw.batch]
    with roles.target(battery.start) as target:
        asked = start.map("heldout_exchanges", probe, roles.benchmark.prompts("heldout"), target, battery.answers)
        exchanges = folder.map("exchanges", probe, batch, target, battery.answers)
    run_benchmarks(start, battery.start, battery.start, roles.suite, battery.answers)
    measured = start.map("heldout_measurements", measure, asked, roles.benchmark)
    scored = start.once("heldout_scores", compute_scores, measured, roles.benchmark)
    verdicts = folder.map("verdicts", judge, exchanges, roles.judge, battery.rubric, battery.templates, options.judge)
    findings = folder.once("findings", select_violations, exchanges, verdicts)
    clusters = folder.once("clusters", cluster, findings, options.cluster)
    return RedTeamResult(tuple(clusters), tuple(scored), "red teaming was done")
