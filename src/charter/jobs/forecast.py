"""What a run would do at most, before anything is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charter.jobs.job_builder import build_job
from charter.spec import Spec


def forecast_run(spec: Spec, written: int = 0) -> Mapping[str, Any]:
    """What a run would do at most: prompts, calls by purpose, tokens to generate. ``written``: prompts that the step
    before writes at most. Nothing is asked and no model loads. Raises SpecError."""
    return build_job(spec, written=written).forecast()
