"""Where the models whose weights are at hand answer: in this process, or on the workers of a cluster."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from charter.records.record import Record


class ExecutorSpec(Record):
    """Where local models answer and judge. `executor: ray` is short for `{kind: ray}`. No answer depends on it in
    float32."""

    kind: Literal["process", "ray"] = Field(
        "process",
        description="`process`: this one. `ray`: workers of a Ray cluster, each with a copy of the model; the records "
        "are written here. It needs `pip install charter[ray]`.",
    )
    address: str = Field(
        "",
        description="Address of a cluster, as `ray://head:10001`, `head:6379` or `auto`. Empty: one on this machine, "
        "started for the run.",
    )
    workers: int = Field(2, ge=1, description="The most copies of a model at once.")
    cpus: float = Field(1.0, gt=0, description="Processors that a worker takes.")
    gpus: float = Field(
        0.0, ge=0, description="GPUs that a worker takes: a share such as 0.25 of one, or several for a large model."
    )
    batch: int = Field(32, ge=1, description="The most requests that a worker is handed at once.")
    wait_s: float = Field(600.0, gt=0, description="Seconds that the cluster may take to give a worker.")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: Any) -> Any:
        """A name alone is the kind."""
        return {"kind": given} if isinstance(given, str) else given
