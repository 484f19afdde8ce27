"""The workers of a cluster: each an actor that holds one copy of an engine and answers a few requests at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from charter import errors
from charter.errors import EngineError, UnavailableError
from charter.models.engines.ray_cluster import RayCluster
from charter.ports import Engine
from charter.records.chat import Request, ScoreRequest

MOST_LOST_STARTS = 3
"""Workers in a row that may end while they load their model."""


class ReplicaOpener(Protocol):
    """Opens an engine where it is sent to: it is pickled."""

    @property
    def identity(self) -> str:
        """What the engine says of itself; nothing is loaded for it."""
        ...

    def open(self, held: Engine | None) -> Engine:
        """The engine, in memory. ``held`` is what the worker has so far (None: nothing), which it may go on with.
        Raises EngineError."""
        ...


class WorkerFault(NamedTuple):
    """An error of the house, as it comes back from a worker."""

    kind: str
    message: str
    cure: str

    def rebuild(self) -> EngineError:
        """The error."""
        kind: type[EngineError] = getattr(errors, self.kind, EngineError)
        return kind(self.message, self.cure)


class ReplicaWorker:
    """What an actor runs."""

    def __init__(self) -> None:
        self._engine: Engine | None = None

    def load_replica(self, opener: ReplicaOpener) -> WorkerFault | None:
        """Brings the engine into memory."""
        try:
            self._engine = opener.open(self._engine)
        except EngineError as error:
            return WorkerFault(type(error).__name__, error.message, error.cure)
        return None

    def answer_requests(
        self, opener: ReplicaOpener, method: str, requests: Sequence[Any], done: Collection[str]
    ) -> list[Any] | WorkerFault:
        """What the engine answers to ``generate`` or ``score``."""
        if (fault := self.load_replica(opener)) is not None:
            return fault
        try:
            return list(getattr(self._engine, method)(requests, done))
        except EngineError as error:
            return WorkerFault(type(error).__name__, error.message, error.cure)


@dataclass
class RequestChunk:
    """Requests that go to a worker together. ``deaths``: workers that ended while they had it."""

    method: str
    requests: Sequence[Request | ScoreRequest]
    done: frozenset[str]
    deaths: int = 0


@dataclass
class WorkerPool:
    """Workers as they are wanted: started, given chunks one at a time, and replaced when they are lost.

    Args:
        cluster: Where they are.
        opener: Opens their engine.
    """

    cluster: RayCluster
    opener: ReplicaOpener
    _starting: dict[Any, Any] = field(default_factory=dict)
    _idle: list[Any] = field(default_factory=list)
    _busy: dict[Any, tuple[Any, RequestChunk]] = field(default_factory=dict)
    _lost_starts: int = 0

    @property
    def busy(self) -> int:
        """Chunks under way."""
        return len(self._busy)

    def start_workers(self, wanted: int) -> None:
        """Sees that so many are there or on their way, as far as the options go. Raises as ``RayCluster.join``."""
        there = len(self._starting) + len(self._idle) + len(self._busy)
        for _ in range(min(wanted, self.cluster.options.workers) - there):
            ray, options = self.cluster.join(), self.cluster.options
            placed = {"num_cpus": options.cpus, "num_gpus": options.gpus, "scheduling_strategy": "SPREAD"}
            actor = ray.remote(ReplicaWorker).options(max_restarts=0, **placed).remote()
            self._starting[actor.load_replica.remote(self.opener)] = actor

    def hand_out(self, take: Callable[[], RequestChunk | None]) -> None:
        """Gives each idle worker a chunk, as long as ``take`` has one."""
        while self._idle and (chunk := take()) is not None:
            actor = self._idle.pop()
            sent = actor.answer_requests.remote(self.opener, chunk.method, chunk.requests, chunk.done)
            self._busy[sent] = (actor, chunk)

    def wait_for_chunk(self) -> tuple[RequestChunk, list[Any] | None] | None:
        """The next chunk that comes back, with its answers, or with None where its worker was lost. None: a worker was
        started or lost meanwhile, and none came back. Raises what the engine raises, and UnavailableError where the
        cluster gives no worker in time."""
        ray, patience = self.cluster.join(), self.cluster.options.wait_s
        under_way = [*self._busy, *self._starting]
        ready, _ = ray.wait(under_way, num_returns=1, timeout=None if self._busy else patience)
        if not ready:
            raise UnavailableError(
                f"the cluster gave no worker with {self.cluster.options.cpus:g} CPUs and "
                f"{self.cluster.options.gpus:g} GPUs within {patience:g} s",
                "Ask for less with executor.cpus and executor.gpus, or free some; then: charter resume",
            )
        sent = ready[0]
        if sent in self._starting:
            self._take_started(ray, sent)
            return None
        actor, chunk = self._busy.pop(sent)
        found, lost = _fetch(ray, sent)
        if lost:
            _end_actor(ray, actor)
            return chunk, None
        self._idle.append(actor)
        if isinstance(found, WorkerFault):
            raise found.rebuild()
        return chunk, found

    def drop_busy(self) -> None:
        """Ends the workers that are at work: nobody waits for what they answer."""
        if self._busy:
            ray = self.cluster.join()
            for actor, _ in self._busy.values():
                _end_actor(ray, actor)
            self._busy.clear()

    def close(self) -> None:
        """Ends all workers, which frees their memory."""
        actors = [*self._starting.values(), *self._idle, *(actor for actor, _ in self._busy.values())]
        if actors:
            ray = self.cluster.join()
            for actor in actors:
                _end_actor(ray, actor)
        self._starting, self._idle, self._busy, self._lost_starts = {}, [], {}, 0

    def _take_started(self, ray: ModuleType, sent: Any) -> None:
        actor = self._starting.pop(sent)
        fault, lost = _fetch(ray, sent)
        if not lost and fault is None:
            self._idle.append(actor)
            self._lost_starts = 0
            return
        _end_actor(ray, actor)
        if fault is not None and not lost:
            raise fault.rebuild()
        self._lost_starts += 1
        if self._lost_starts >= MOST_LOST_STARTS:
            self._lost_starts = 0
            raise EngineError(
                f"{MOST_LOST_STARTS} workers ended one after the other while they loaded the model: {lost}",
                "Look at Ray's logs. Where memory ran out, give a worker more, or have fewer: executor.workers",
            )


def _fetch(ray: ModuleType, sent: Any) -> tuple[Any, str]:
    """What came back, and why nothing did where the worker was lost. Raises EngineError where it failed."""
    try:
        return ray.get(sent), ""
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(getattr(error, "cause", None), BaseException) else error
        raise EngineError(f"a worker of the cluster failed: {cause!r}", "This is a defect of its engine.") from error
    except ray.exceptions.RayError as error:
        return None, str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _end_actor(ray: ModuleType, actor: Any) -> None:
    ray.kill(actor, no_restart=True)
