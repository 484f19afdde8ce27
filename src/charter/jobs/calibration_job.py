"""A judge under measurement, and the calibrations that a spec names."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from charter.errors import SpecError
from charter.jobs.job import finish_run
from charter.judging.injections import INJECTIONS
from charter.judging.rubrics import COMPARE
from charter.ports import Engine
from charter.spec import NO_MODEL, JudgingSpec, Spec
from charter.stages.calibration import MAX_BASES
from charter.wiring import role_models
from charter.wiring.calibrations import CALIBRATION_FILE
from charter.wiring.classifier_roles import covers
from charter.wiring.prompt_previews import distinguish_counts, find_losses
from charter.wiring.reading_calls import plan_reading

if TYPE_CHECKING:
    from charter.methods.calibrate import CalibrationInputs
    from charter.runs import Run


class CalibrationJob:
    """The live objects of a spec whose method is ``calibrate``; files are read at once."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.world = role_models.load_world(spec)
        self.trial = self._build_inputs()
        self.price = role_models.find_prices({"judge": spec.judge or spec.oracle}, spec.budget)["judge"]

    def open_judge(self) -> AbstractContextManager[Engine]:
        """The judge to be measured. Raises SpecError, EngineError."""
        asked = self.spec.judge or self.spec.oracle
        return role_models.open_oracle(self.spec, asked, self.world, self.trial.rubric)

    def describe(self) -> dict[str, Any]:
        """Nothing: there is no target."""
        return {}

    def prepare(self) -> Sequence[str]:
        """Nothing: all files are read already."""
        return ()

    def execute(self, run: Run) -> None:
        """Measures the judge, publishes what was found, and finishes the run."""
        from charter.methods.calibrate import calibrate

        if losses := find_losses(self.counts):
            run.steps("000").record("left_out", losses)
        with self.open_judge() as judge:
            found = calibrate(run, run.meter_engine(judge, "judge", "measuring", self.price), self.trial)
        outcome = {"method": "calibrate", "world": self.spec.world or None}
        finish_run(run, outcome, {CALIBRATION_FILE: found.model_dump_json(indent=2) + "\n"})

    def forecast(self) -> dict[str, Any]:
        """What would be asked at least: retries come on top."""
        trial, judge = self.trial, self.spec.judge or self.spec.oracle
        votes, other = trial.judging.votes, "label" if trial.judging.read == "rationale" else "rationale"
        read = plan_reading(judge, trial.judging, trial.rubric.name, votes)
        also = plan_reading(judge, trial.judging.model_copy(update={"read": other}), trial.rubric.name, votes)
        attacked = len(INJECTIONS) + MAX_BASES if trial.injections else 0
        asked = {
            "labelled": read.count(len(trial.labelled)) + also.count(len(trial.labelled) * trial.both_readings),
            "pairs, both orders": 2 * len(trial.pairs) * (2 if covers(judge, COMPARE) else votes),
            "injections at most": read.count(attacked) + read.count(MAX_BASES if attacked else 0),
        }
        rows = {"rows": {count.id: count.summary for count in self.counts}} if self.counts else {}
        calls = {"judge_calls": asked, "calls": sum(asked.values())}
        with self.open_judge() as engine:
            return {"method": "calibrate", "judge": engine.identity, **calls, **rows}

    def _build_inputs(self) -> CalibrationInputs:
        from charter.data.sources.human_labels import read_pairs
        from charter.data.sources.labelled_sets import read_labelled
        from charter.methods.calibrate import CalibrationInputs

        spec, asked = self.spec, self.spec.calibrate
        rubric, judging = role_models.load_rubric(spec.options.judge), spec.options.judge
        if covers(spec.judge or spec.oracle, rubric):
            judging = JudgingSpec(read="label")
            if asked.both_readings:
                fault = "calibrate.both_readings: a classifier is read by its probabilities alone; leave it out"
                raise SpecError("there are no two readings to compare", (fault,))
        judge = spec.judge or spec.oracle
        if asked.pairs and judge.model == NO_MODEL and not covers(judge, COMPARE):
            fault = "calibrate.pairs: nothing compares two responses: the judge's model is none"
            cure = (
                "Name a model in `judge`, or classes of a classifier: rubrics: {compare: {CLASS: better, CLASS: worse}}"
            )
            raise SpecError("these pairs cannot be judged", (fault,), cure)
        exchanges, labelled = read_labelled(asked.labelled, rubric, asked.labels, asked.limit, asked.skip)
        pairs, compared = read_pairs(asked.pairs, asked.limit, asked.skip)
        self.counts = distinguish_counts([*labelled, *compared])
        return CalibrationInputs(
            labelled=exchanges,
            pairs=pairs,
            injections=asked.injections,
            rubric=rubric,
            templates=role_models.build_templates(spec, self.world),
            judging=judging,
            both_readings=asked.both_readings,
            fit=asked.fit,
        )
