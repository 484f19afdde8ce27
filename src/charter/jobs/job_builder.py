"""From a spec to its job, by its method."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charter.jobs.alignment_job import AlignmentJob
from charter.jobs.audit_job import AuditJob
from charter.jobs.calibration_job import CalibrationJob
from charter.jobs.evaluation_job import EvaluationJob
from charter.jobs.job import Job
from charter.jobs.self_instruct_job import SelfInstructJob
from charter.spec import Spec


def build_job(spec: Spec, revision: str = "", written: int = 0, folder: Path | None = None) -> Job:
    """The job of a spec.

    Args:
        spec: What is to be done.
        revision: The commit of the target that a run began with; empty for a new run.
        written: Prompts that the step before writes at most, for the forecast of a chain.
        folder: The run's, where files of the spec lie in it.
    """
    match spec.method:
        case "audit":
            return AuditJob(spec, revision)
        case "calibrate":
            return CalibrationJob(spec)
        case "evaluate":
            return EvaluationJob(spec, revision)
        case "self_instruct":
            return SelfInstructJob(spec, revision)
        case _:
            return AlignmentJob(spec, revision, written, folder)


def forecast_run(spec: Spec, written: int = 0) -> Mapping[str, Any]:
    """What a run would do at most: prompts, calls by purpose, tokens to generate. ``written``: prompts that the step
    before writes at most. Nothing is asked and no model loads. Raises SpecError."""
    return build_job(spec, written=written).forecast()
