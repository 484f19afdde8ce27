"""Calibrate: how far a judge can be trusted. It judges what is labelled, chooses between what people chose between, and
is attacked in what it judges. It aligns nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from charter.judging.exchange_classes import list_classes
from charter.judging.judge_requests import judging_digest
from charter.judging.pair_comparison import both_orders
from charter.judging.rubrics import Rubric
from charter.ports import Engine
from charter.records.calibration_results import Calibration, LabelledExchange, ReadingFigures
from charter.records.label_fits import FitKind, LabelFit
from charter.records.preferences import ResponsePair
from charter.records.templates import Templates
from charter.records.verdicts import Verdict
from charter.runs import Run, Steps
from charter.spec import JudgingSpec
from charter.stages.calibration import (
    JudgeEvidence,
    build_calibration,
    build_injections,
    compare_pairs,
    select_attack_bases,
)
from charter.stages.judge import judge as judge_stage
from charter.stages.judge_readings import compare_readings, cross_fit_verdicts, learn_fit


@dataclass(frozen=True)
class CalibrationInputs:
    """What a judge is put to, and how it is asked; ``both_readings``: in words and by labels. ``fit``: what is learnt
    about the probabilities of labels."""

    labelled: Sequence[LabelledExchange]
    pairs: Sequence[ResponsePair]
    injections: bool
    rubric: Rubric
    templates: Templates
    judging: JudgingSpec
    both_readings: bool = False
    fit: FitKind = "threshold"


def calibrate(run: Run, judge: Engine, trial: CalibrationInputs) -> Calibration:
    """Measures ``judge``. Each name on the left of a step is a file of the run."""
    steps, judging = run.steps("000"), (trial.rubric, trial.templates, trial.judging)
    labelled = steps.record("labelled", list(trial.labelled))
    verdicts, readings, label_fit = _judge_labelled(steps, judge, trial, labelled)
    orders = steps.once("orders", both_orders, trial.pairs)
    preferences = steps.map("preferences", compare_pairs, orders, judge, trial.templates, trial.judging)
    evidence = JudgeEvidence(labelled, verdicts, orders, preferences)
    if trial.injections:
        fitted = trial.rubric.model_copy(update={"fit": label_fit}), *judging[1:]
        attackable = steps.once("attackable", select_attack_bases, labelled)
        peaceful = steps.map("peaceful", judge_stage, attackable, judge, *fitted)
        attacks = steps.once("attacks", build_injections, attackable, peaceful, trial.rubric)
        attacked = steps.map("attacked", judge_stage, [a.exchange for a in attacks], judge, *fitted)
        evidence = replace(evidence, attacks=attacks, attacked_verdicts=attacked)
    who = Calibration(
        judge=judge.identity,
        rubric=trial.rubric.identity,
        judging_digest=judging_digest(*judging, classified=bool(list_classes(judge, trial.rubric))),
        fit=label_fit if trial.judging.read == "label" else None,
        readings=tuple(readings),
    )
    calibration = steps.once("calibration", build_calibration, who, evidence)
    return calibration


def _judge_labelled(
    steps: Steps, judge: Engine, trial: CalibrationInputs, labelled: Sequence[LabelledExchange]
) -> tuple[Sequence[Verdict], list[ReadingFigures], LabelFit | None]:
    """The verdicts on what is labelled, each reading's figures, and what was learnt about probabilities of labels."""
    exchanges, read = [known.exchange for known in labelled], trial.judging.read
    verdicts = steps.map("verdicts", judge_stage, exchanges, judge, trial.rubric, trial.templates, trial.judging)
    said = {read: verdicts}
    if trial.both_readings:
        other = trial.judging.model_copy(update={"read": "label" if read == "rationale" else "rationale"})
        how = trial.rubric, trial.templates, other
        other_verdicts = steps.map("other_verdicts", judge_stage, exchanges, judge, *how)
        said[other.read] = other_verdicts
    if "label" not in said or not labelled:
        return verdicts, [], None
    label_fit = steps.once("label_fit", learn_fit, labelled, said["label"], trial.rubric, trial.fit)
    fitted_verdicts = steps.once(
        "fitted_verdicts", cross_fit_verdicts, labelled, said["label"], trial.rubric, trial.fit
    )
    said["label"] = fitted_verdicts
    once = (1,) if list_classes(judge, trial.rubric) else ()
    readings = steps.once("readings", compare_readings, labelled, said, *once)
    return said[read], readings, label_fit
