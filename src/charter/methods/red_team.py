"""Red teaming alone: ask, judge, group the failures, score. Nothing is proposed and nothing is tuned, so it needs no
weights: a target that is only reached by HTTP will do.

Its steps have the names, and its prompts and seeds the order, that IterAlign has: ``000/heldout_scores`` are the scores
before, ``001`` what the first batch brings out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from charter.judging.rubrics import CONDUCT, Rubric
from charter.methods.exams import examine
from charter.nouns import Cluster, ModelRef, Prompt, Sampling, Score
from charter.ports import Roles
from charter.run import Run
from charter.similarity import Guard
from charter.spec import Options
from charter.stages.clustering import cluster
from charter.stages.draw import draw
from charter.stages.evaluate import measure, scores
from charter.stages.judging import judge, violations
from charter.stages.probe import probe
from charter.templates import Templates


@dataclass(frozen=True)
class Battery:
    """Who is asked, what, and how; of ``options`` it reads draw (one batch of ``draw.batch``), judge and cluster."""

    start: ModelRef
    redteam: Sequence[Prompt]
    guard: Guard
    templates: Templates
    answers: Sampling
    options: Options
    rubric: Rubric = CONDUCT


@dataclass(frozen=True)
class Found:
    """Failures by cluster, the held-out scores, and why it ended."""

    clusters: tuple[Cluster, ...]
    scores: tuple[Score, ...]
    stopped: str


def red_team(run: Run, roles: Roles, battery: Battery) -> Found:
    """Probes ``battery.start`` once."""
    start, folder, options = run.steps("000"), run.steps("001"), battery.options
    prompts = start.once("prompts", draw, battery.redteam, battery.guard, options.draw)
    batch = prompts[: options.draw.batch]
    with roles.target(battery.start) as target:
        asked = start.map("heldout_exchanges", probe, roles.benchmark.prompts("heldout"), target, battery.answers)
        exchanges = folder.map("exchanges", probe, batch, target, battery.answers)
    examine(start, battery.start, battery.start, roles.examiners, battery.answers)
    measured = start.map("heldout_measurements", measure, asked, roles.benchmark)
    scored = start.once("heldout_scores", scores, measured, roles.benchmark)
    verdicts = folder.map("verdicts", judge, exchanges, roles.judge, battery.rubric, battery.templates, options.judge)
    findings = folder.once("findings", violations, exchanges, verdicts)
    clusters = folder.once("clusters", cluster, findings, options.cluster)
    return Found(tuple(clusters), tuple(scored), "red teaming was done")
