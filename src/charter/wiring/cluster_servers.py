"""A policy behind servers that the workers of a cluster start, each its own on its node."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from charter.errors import EngineError
from charter.models.engines.served_engine import ServedEngine
from charter.ports import Engine
from charter.records.model_refs import ModelRef
from charter.spec import Spec
from charter.wiring import role_models


class WorkerServer(ServedEngine):
    """A server that takes its worker with it when it ends, so that what ended it is found as for any lost worker."""

    def _find_end(self) -> EngineError | None:
        if super()._find_end() is not None:
            os._exit(1)
        return None


@dataclass(frozen=True)
class ServedReplica:
    """A policy behind a server of the worker's own, on its node: ``target.serve`` of ``spec``. Its files must lie where
    the worker sees them under the same path."""

    spec: Spec
    policy: ModelRef

    @property
    def identity(self) -> str:
        """That of a server of this process."""
        return role_models.build_served_engine(self.spec, self.policy, Path()).identity

    def open(self, held: Engine | None) -> Engine:
        """The engine, which starts its server when it is asked; the server of another policy is ended first."""
        if isinstance(held, ServedEngine):
            if held.model == self.policy:
                return held
            held.close()
        folder = Path(tempfile.mkdtemp(prefix="charter-served-"))
        return role_models.build_served_engine(self.spec, self.policy, folder, WorkerServer)
