"""Engines that workers of a Ray cluster open in tests: they answer from a script, and misbehave when told to."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from charter.errors import EngineError
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.models.engines.sequence_classifier import EncodedText
from charter.ports import Engine
from charter.records.chat import Message, Request, ScoreRequest
from charter.wiring.cluster_classifiers import ClassifierReplica

SMALL_STORE = 80 << 20


def answer(request: Request) -> str:
    """An answer that depends on the request alone."""
    return f"{request.messages[-1].content.upper()} {request.seed}"


@dataclass(frozen=True)
class ScriptedReplica:
    """Opens a scripted engine.

    Args:
        folder: Where each worker writes its process's id when it opens, and each request when it is answered.
        poison: Requests that hold this word end the worker.
        slow: Seconds that an answer takes whose request holds the word ``slow``; of others a hundredth.
        broken: Opening fails: ``error``, or by ending the worker (``death``).
    """

    folder: Path
    poison: str = ""
    slow: float = 0.0
    broken: str = ""
    identity: str = "scripted"

    def open(self, held: Engine | None) -> Engine:
        """Opens it, or goes on with what is held."""
        if held is not None:
            return held
        if self.broken == "error":
            raise EngineError("the weights are gone", "Bring them back.")
        if self.broken == "death":
            os.kill(os.getpid(), signal.SIGKILL)
        (self.folder / f"pid-{os.getpid()}").touch()
        return ScriptedEngine(self._answer, self.identity, grader=self._grade)

    def _answer(self, request: Request) -> str:
        text = request.messages[-1].content
        self._note(request)
        if self.poison and self.poison in text:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.slow:
            time.sleep(self.slow if "slow" in text else self.slow / 100)
        return answer(request)

    def _grade(self, request: ScoreRequest) -> float:
        self._note(request)
        if self.poison and self.poison in request.messages[-1].content:
            os.kill(os.getpid(), signal.SIGKILL)
        return -1.5

    def _note(self, request: Request | ScoreRequest) -> None:
        with (self.folder / f"asked-{os.getpid()}").open("a") as stream:
            stream.write(f"{request.id}\n")


class PoisonedClassifier(ClassifierReplica):
    """Opens a real classifier that ends its worker when it reads ``venom``."""

    def open(self, held: Engine | None) -> Engine:
        """Opens it, or goes on with what is held."""
        opened: Any = super().open(held)
        opened._encode = _end_at_venom(opened._encode)
        return cast(Engine, opened)


def _end_at_venom(encode: Callable[[Sequence[Message]], EncodedText]) -> Callable[[Sequence[Message]], EncodedText]:
    def read(messages: Sequence[Message]) -> EncodedText:
        if "venom" in messages[-1].content:
            os.kill(os.getpid(), signal.SIGKILL)
        return encode(messages)

    return read


def worker_pids(folder: Path) -> list[int]:
    """The processes that opened a copy."""
    return [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]


def asked_ids(folder: Path) -> list[str]:
    """Every request that a worker began with."""
    return [line for path in folder.glob("asked-*") for line in path.read_text().split()]


@contextmanager
def start_nodes(count: int) -> Iterator[object]:
    """A real cluster of several nodes on this machine, each with one processor, ended at the end."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": SMALL_STORE})
    try:
        for _ in range(count):
            cluster.add_node(num_cpus=1, object_store_memory=SMALL_STORE)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR, namespace="charter")
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]
