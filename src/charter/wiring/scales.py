"""The numbers that depend on the target's size, where a spec names none."""

from __future__ import annotations

from charter.records.model_refs import ModelRef
from charter.spec import ScaleSpec, Spec
from charter.spec.spec_parser import load_scale

LARGEST = {"135m": 0.5e9, "1b": 4e9, "8b": 30e9}
"""The most parameters for which a shipped scale is taken; larger models take 70b. The borders are ours."""


def choose_scale(spec: Spec, start: ModelRef) -> Spec:
    """The spec with the shipped scale that fits the target's size. Unchanged where the spec has a scale of its own, and
    where the weights cannot be counted. Raises EngineError."""
    if "scale" in spec.model_fields_set or spec.target.by_http or spec.target.model == "organism":
        return spec
    from charter.models import weights

    where = weights.model_folder(start, offline=spec.offline, remote_code=spec.target.remote_code)
    count = weights.count_parameters(where)
    if count is None:
        return spec
    return spec.model_copy(update={"scale": ScaleSpec.model_validate(load_scale(name_scale(count)))})


def name_scale(count: int) -> str:
    """The shipped scale for so many parameters."""
    return next((name for name, most in LARGEST.items() if count <= most), "70b")
