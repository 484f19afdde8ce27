"""Calibrations of judges, read from finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from charter.errors import SpecError
from charter.judging.judge_requests import judging_digest
from charter.judging.rubrics import Rubric
from charter.records.calibration_results import Calibration, RoleCalibration
from charter.records.templates import Templates
from charter.spec import OracleSpec, Spec
from charter.wiring import role_models
from charter.wiring.classifier_roles import covers

if TYPE_CHECKING:
    from charter.organism.world import World


CALIBRATION_FILE = "calibration.json"
"""What a calibration leaves in its run's folder."""


def load_calibrations(spec: Spec, rubric: Rubric, templates: Templates, world: World | None) -> list[RoleCalibration]:
    """The calibrations of judge and evaluator that a spec names. Raises SpecError where one is of another model,
    rubric or way of asking."""
    roles: dict[str, OracleSpec] = {"judge": spec.judge or spec.oracle}
    if spec.evaluator != "world":
        roles["evaluator"] = spec.evaluator
    out = []
    for role, asks in roles.items():
        if not asks.calibration:
            continue
        found = read_calibration(asks.calibration)
        told = {
            "judge": (found.judge, role_models.connect_oracle(asks, world, rubric=rubric).identity),
            "rubric": (found.rubric, rubric.identity),
            "template, votes, retries or temperature": (
                found.judging_digest,
                judging_digest(rubric, templates, spec.options.judge, classified=covers(asks, rubric)),
            ),
        }
        faults = tuple(f"{name}: measured {was}, here {now}" for name, (was, now) in told.items() if was != now)
        if faults:
            cure = "Measure this judge as it is asked here: charter judge calibrate SPEC"
            raise SpecError(f"{role}.calibration: {asks.calibration} is of another judge", faults, cure)
        out.append(RoleCalibration(id=role, calibration=found))
    return out


def read_calibration(place: str) -> Calibration:
    """A calibration from its run's folder or its file. Raises SpecError."""
    path = Path(place) / CALIBRATION_FILE if Path(place).is_dir() else Path(place)
    cure = f"Give a finished run of `charter judge calibrate`, or its {CALIBRATION_FILE}."
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}", cure=cure) from error
    except ValidationError as error:
        raise SpecError(f"{path} holds no calibration", tuple(e["msg"] for e in error.errors()), cure) from error
