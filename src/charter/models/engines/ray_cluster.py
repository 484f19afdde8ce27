"""A Ray cluster, joined when it is first needed: one that stands already, or one on this machine for as long as it is
used. The only module that begins and ends Ray."""

from __future__ import annotations

import logging
import os
import signal
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from types import ModuleType
from typing import Any, Protocol

from pydantic import Field

from charter.errors import EngineError, UnavailableError
from charter.records.record import Record

OBJECT_STORE_BYTES = 128 << 20
"""The shared memory of a cluster on this machine: what goes through it are texts."""
_REACH_SECONDS = 10.0


class RayOptions(Record):
    """Which cluster, and what a worker takes; as ``ExecutorSpec`` has it."""

    address: str = ""
    workers: int = Field(default=2, ge=1)
    cpus: float = Field(default=1.0, gt=0)
    gpus: float = Field(default=0.0, ge=0)
    batch: int = Field(default=32, ge=1)
    wait_s: float = Field(default=600.0, gt=0)


class Tenant(Protocol):
    """What holds workers of a cluster."""

    def rest(self) -> None:
        """Ends those that have nothing to do."""
        ...


class RayCluster:
    """Joins a cluster, and leaves it. It may be joined again."""

    def __init__(self, options: RayOptions) -> None:
        self.options = options
        self.tenants: list[Tenant] = []
        self._joined = False

    def join(self) -> ModuleType:
        """Ray, connected to the cluster. Where this process is connected already, that connection is used and left
        open. Raises EngineError where Ray is not installed, UnavailableError where the cluster stays away."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise EngineError(
                "executor: ray needs Ray, which is not installed", "pip install 'charter[ray]'"
            ) from error
        if not ray.is_initialized():
            try:
                _require_listener(self.options.address)
                with _keep_signals(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    ray.init(**self._arguments())
            except (ConnectionError, TimeoutError, RuntimeError, ValueError, OSError) as error:
                where = self.options.address or "on this machine"
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise UnavailableError(
                    f"the Ray cluster {where} cannot be reached: {reason}",
                    "Start it, or mend executor.address; then: charter resume",
                ) from error
            self._joined = True
        return ray

    def make_room(self, asking: Tenant | None, cpus: float, gpus: float) -> None:
        """Sees that workers of others, which have nothing to do, hold nothing that ``asking`` wants (None: what is
        no tenant). They load their model anew when they are asked again. Raises as ``join``."""
        free = self.join().available_resources()
        if free.get("CPU", 0) < cpus or free.get("GPU", 0) < gpus:
            for other in self.tenants:
                if other is not asking:
                    other.rest()

    def close(self) -> None:
        """Leaves the cluster; one that was started for this is ended."""
        if self._joined:
            import ray

            self._joined = False
            with _keep_signals():
                ray.shutdown()

    def _arguments(self) -> dict[str, Any]:
        shared = {"log_to_driver": False, "logging_level": logging.ERROR, "namespace": "charter"}
        if self.options.address:
            return {"address": self.options.address, **shared}
        return {
            "address": "local",
            "num_cpus": ceil(self.options.workers * self.options.cpus),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_system_config": {"worker_niceness": 0},  # as this process would answer; Ray's own is 15
            **shared,
        }


def _require_listener(address: str) -> None:
    """Raises OSError where nothing listens at a host and port. Ray tries for minutes, and then ends the process."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_SECONDS).close()


@contextmanager
def _keep_signals() -> Iterator[None]:
    """Ray takes the handler of SIGTERM away."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
