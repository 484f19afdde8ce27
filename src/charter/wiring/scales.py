"""The numbers that depend on the target's size, where a spec names none."""

from __future__ import annotations

from charter.records.model_refs import ModelRef
from charter.spec import ScaleSpec, Spec
from charter.spec.spec_parser import load_scale

LARGEST = {"135m": 0.5e9, "1b": 4e9, "8b": 30e9}
"""The most parameters for which a shipped scale is taken; larger models take 70b. The borders are ours."""


def choose_scale(spec: Spec, start: ModelRef) -> str:
    """The name of the shipped scale that fits the target's size. Empty where the spec has a scale of its own, and where
    the weights cannot be counted. Raises EngineError."""
    if "scale" in spec.model_fields_set or spec.target.by_http or spec.target.model == "organism":
        return ""
    from charter.models import weights

    where = weights.model_folder(start, offline=spec.offline, remote_code=spec.target.remote_code)
    count = weights.count_parameters(where)
    return "" if count is None else name_scale(count)


def use_scale(spec: Spec, name: str) -> Spec:
    """The spec with a shipped scale; as it is where there is no ``name``."""
    return spec.model_copy(update={"scale": ScaleSpec.model_validate(load_scale(name))}) if name else spec


def name_scale(count: int) -> str:
    """The shipped scale for so many parameters."""
    return next((name for name, most in LARGEST.items() if count <= most), "70b")
