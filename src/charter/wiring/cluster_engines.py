"""Weights at hand that answer in a process: this one, or a worker of a cluster, which opens them there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.ports import Engine
from charter.records.chat import Completion, Request, Sampling
from charter.records.model_refs import ModelRef


class LocalOracle(LocalEngine):
    """A model in process that draws its replies with no less than ``least``."""

    def __init__(self, model: ModelRef, options: LocalOptions, least: Sampling) -> None:
        super().__init__(model, options)
        self.least = least

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        """As the engine does. Raises EngineError."""
        return super().generate([request.widen(self.least) for request in requests], done)


@dataclass(frozen=True)
class LocalReplica:
    """A model in the worker's process. One that is held swaps the policy alone.

    Args:
        model: The policy; its files must lie where the worker sees them under the same path.
        options: How it is loaded and asked.
        least: What an oracle draws its replies with at least; None: a target.
    """

    model: ModelRef
    options: LocalOptions
    least: Sampling | None = None

    @property
    def identity(self) -> str:
        """That of the same engine in this process."""
        return self._build().identity

    def open(self, held: Engine | None) -> Engine:
        """The engine with its weights in memory. Raises EngineError, also where the base held is another one."""
        engine = held.use_policy(self.model) if isinstance(held, LocalEngine) else self._build()
        assert engine.model is not None, "asked for, so that it is loaded"
        return engine

    def _build(self) -> LocalEngine:
        if self.least is None:
            return LocalEngine(self.model, self.options)
        return LocalOracle(self.model, self.options, self.least)
