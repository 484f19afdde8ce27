"""Where training runs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from charter.records.record import Record
from charter.spec.command_words import parse_placeholders
from charter.spec.model_spec import PROGRAM_PREFIX

LAUNCH_PLACEHOLDERS = ("script", "job")
"""The names that a command in ``tuner.launch`` must hold in braces."""
NODE_PLACEHOLDERS = ("node", "host", "port")
"""Those that it must hold where several nodes train together; it may hold their number, {nodes}."""


class TunerSpec(Record):
    """Where training runs: in this process, in processes of its own, or on nodes of a cluster."""

    program: str = Field(
        "",
        description="A tuner of your own, `python:package.module:Object`. `tuner: python:...` is short for it.",
    )
    launch: str = Field(
        "",
        description="A command that trains in its own processes, such as `accelerate launch {script} {job}`. Empty: "
        "in this process.",
    )
    save_steps: int = Field(
        50,
        ge=1,
        description="Optimiser steps between two checkpoints of a launched training. A kill costs at most so many.",
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="Rows at a time in one process of a launched training. Null: a step's rows, shared evenly.",
    )
    on_cluster: bool = Field(
        False,
        description="True trains on one node of the cluster of `executor: ray`, which sees the run's folder and the "
        "weights under the same path. False: on the node where charter runs.",
    )
    nodes: int = Field(
        1,
        ge=1,
        description="Nodes of the cluster that train together. `launch` is started on each, with {nodes}, {node} (from "
        "0 on), {host} and {port} of the first filled in.",
    )
    cpus: float = Field(1.0, gt=0, description="Processors that training takes of a node of the cluster.")
    gpus: float = Field(0.0, ge=0, description="GPUs that training takes of a node of the cluster.")
    quantize: Literal["none", "4bit"] = Field(
        "none",
        description="`4bit` trains LoRA over a base in 4 bits (QLoRA, arXiv 2305.14314). It needs bitsandbytes and "
        "CUDA.",
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: Any) -> Any:
        """A name alone is that of a tuner of one's own."""
        return {"program": given} if isinstance(given, str) else given

    @property
    def is_in_process(self) -> bool:
        """Whether charter's own tuner trains in this process."""
        return not (self.program or self.launch or self.on_cluster)

    def find_faults(self) -> list[str]:
        """What does not fit together, one line each."""
        if self.program and not self.program.startswith(PROGRAM_PREFIX):
            return ["tuner.program: names no object; write python:package.module:Object"]
        if self.program and (self.launch or self.on_cluster or self.quantize != "none"):
            own = "tuner.program: a tuner of your own cannot be launched, placed or quantized"
            return [f"{own}; leave launch, on_cluster and quantize"]
        if not self.on_cluster and (self.cpus != 1 or self.gpus or self.nodes > 1):
            return ["tuner.cpus, tuner.gpus, tuner.nodes: are for tuner.on_cluster, which is not set"]
        return self._find_launch_faults()

    def _find_launch_faults(self) -> list[str]:
        if not self.launch:
            wrong = {"nodes": self.nodes > 1, "micro_batch": self.micro_batch is not None}
            return [f"tuner.{key}: is for tuner.launch, which is not set" for key, is_set in wrong.items() if is_set]
        needed = LAUNCH_PLACEHOLDERS + (NODE_PLACEHOLDERS if self.nodes > 1 else ())
        found = parse_placeholders(self.launch, (*needed, "nodes") if self.nodes > 1 else needed)
        if isinstance(found, list):
            return [f"tuner.launch: {fault}" for fault in found]
        return [f"tuner.launch: holds no {{{name}}}" for name in needed if name not in found]
