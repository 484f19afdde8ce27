"""A judge is tried before it is trusted: on shipped exchanges, or only for whether it gives probabilities."""

from __future__ import annotations

from dataclasses import dataclass

from charter.judging.probe_exchanges import load_probe_exchanges
from charter.judging.rubrics import Rubric
from charter.ports import Engine
from charter.records.calibration_results import JudgeProbe
from charter.records.templates import Templates
from charter.runs import Run
from charter.spec import JudgingSpec
from charter.stages.judge import judge
from charter.stages.judge_readings import summarise_probe


@dataclass(frozen=True)
class ProbeInputs:
    """The judge of a role, and how it is asked."""

    role: str
    engine: Engine
    rubric: Rubric
    templates: Templates
    judging: JudgingSpec


def probe_judge(run: Run, asked: ProbeInputs) -> JudgeProbe:
    """What a judge says of the shipped exchanges."""
    labelled, steps = list(load_probe_exchanges(asked.rubric.name)), run.steps("000")
    exchanges, how = [known.exchange for known in labelled], (asked.rubric, asked.templates, asked.judging)
    probe_verdicts = steps.map(f"{asked.role}_probe_verdicts", judge, exchanges, asked.engine, *how)
    probe = steps.once(
        f"{asked.role}_probe", summarise_probe, asked.role, asked.engine.identity, labelled, probe_verdicts
    )
    return probe


def check_labels(run: Run, asked: ProbeInputs) -> None:
    """Asks one shipped exchange, so that a judge without probabilities shows at once. Raises UnsupportedError."""
    first, how = load_probe_exchanges()[0].exchange, (asked.rubric, asked.templates, asked.judging)
    run.steps("000").map(f"{asked.role}_label_check", judge, [first], asked.engine, *how)
