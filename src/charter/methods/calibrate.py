"""Calibrate: how far a judge can be trusted. It judges what is labelled, chooses between what people chose between, and
is attacked in what it judges. It aligns nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from charter.judging.judge_requests import judging_digest
from charter.judging.pair_comparison import both_orders
from charter.judging.rubrics import Rubric
from charter.ports import Engine
from charter.records.calibration_results import Calibration, LabelledExchange
from charter.records.preferences import ResponsePair
from charter.run import Run
from charter.spec import JudgingSpec
from charter.stages.calibration import (
    JudgeEvidence,
    build_calibration,
    build_injections,
    compare_pairs,
    select_attack_bases,
)
from charter.stages.judge import judge as judge_stage
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
    """Measures ``judge``. Each name on the left of a step is a file of the run."""
    steps, judging = run.steps("000"), (trial.rubric, trial.templates, trial.judging)
    labelled = steps.record("labelled", list(trial.labelled))
    verdicts = steps.map("verdicts", judge_stage, [known.exchange for known in labelled], judge, *judging)
    orders = steps.once("orders", both_orders, trial.pairs)
    preferences = steps.map("preferences", compare_pairs, orders, judge, trial.templates, trial.judging)
    evidence = JudgeEvidence(labelled, verdicts, orders, preferences)
    if trial.injections:
        attackable = steps.once("attackable", select_attack_bases, labelled)
        peaceful = steps.map("peaceful", judge_stage, attackable, judge, *judging)
        attacks = steps.once("attacks", build_injections, attackable, peaceful, trial.rubric)
        attacked = steps.map("attacked", judge_stage, [a.exchange for a in attacks], judge, *judging)
        evidence = replace(evidence, attacks=attacks, attacked_verdicts=attacked)
    who = Calibration(judge=judge.identity, rubric=trial.rubric.identity, judging_digest=judging_digest(*judging))
    calibration = steps.once("calibration", build_calibration, who, evidence)
    return calibration
