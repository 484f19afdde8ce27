"""Calibrate: how far a judge can be trusted. It judges what is labelled, chooses between what people chose between, and
is attacked in what it judges. It aligns nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from charter.judging.judge_requests import judging_digest
from charter.judging.pair_comparison import both_orders
from charter.judging.rubrics import Rubric
from charter.ports import Engine
from charter.records.calibration_results import Calibration, LabelledExchange
from charter.records.preferences import ResponsePair
from charter.run import Run
from charter.spec import JudgingSpec
from charter.stages.calibration import (
    build_calibration,
    build_injections,
    compare_pairs,
    record_labelled,
    select_attack_bases,
)
from charter.stages.judge import judge as judged
from charter.templates import Templates


@dataclass(frozen=True)
class CalibrationInputs:
    """What a judge is put to, and how it is asked."""

    labelled: Sequence[LabelledExchange]
    pairs: Sequence[ResponsePair]
    injections: bool
    rubric: Rubric
    templates: Templates
    judging: JudgingSpec


def calibrate(run: Run, judge: Engine, trial: CalibrationInputs) -> Calibration:
    """Measures ``judge``. Each name on the left is a file of the run."""
    steps, judging = run.steps("000"), (trial.rubric, trial.templates, trial.judging)
    labelled = steps.once("labelled", record_labelled, trial.labelled)
    verdicts = steps.map("verdicts", judged, [known.exchange for known in labelled], judge, *judging)
    orders = steps.once("orders", both_orders, trial.pairs)
    preferences = steps.map("preferences", compare_pairs, orders, judge, trial.templates, trial.judging)
    resisted = None
    if trial.injections:
        bases = steps.once("attackable", select_attack_bases, labelled)
        peaceful = steps.map("peaceful", judged, bases, judge, *judging)
        attacked = steps.once("attacks", build_injections, bases, peaceful, trial.rubric)
        resisted = (attacked, steps.map("attacked", judged, [a.exchange for a in attacked], judge, *judging))
    who = Calibration(judge=judge.identity, rubric=trial.rubric.identity, judging_digest=judging_digest(*judging))
    return steps.once("calibration", build_calibration, who, (labelled, verdicts), (orders, preferences), resisted)
