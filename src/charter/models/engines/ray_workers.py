"""The workers of a cluster: each an actor that holds one copy of a model and does a small piece of work at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from types import ModuleType
from typing import Any, NamedTuple, Protocol, Self

from charter import errors
from charter.errors import CharterError, EngineError, UnavailableError
from charter.models.engines.ray_cluster import RayCluster, RayOptions
from charter.records.chat import Completion, LogLikelihood, Request, ScoreRequest

MOST_LOST_STARTS = 3
"""Workers in a row that may end while they load their model."""
MOST_DEATHS = 2
"""Workers that a piece of work may end while it is alone with them."""


class ReplicaOpener(Protocol):
    """Opens a model where it is sent to: it is pickled."""

    @property
    def identity(self) -> str:
        """What the model says of itself; nothing is loaded for it."""
        ...

    def open(self, held: Any) -> Any:
        """What works, in memory. ``held`` is what the worker has so far (None: nothing), which it may go on with.
        Raises EngineError."""
        ...


class WorkChunk(Protocol):
    """What a worker is handed at once: it is pickled."""

    def work(self, replica: Any) -> list[Any]:
        """What ``replica`` makes of it, on the worker. Raises CharterError."""
        ...

    def share_out(self) -> tuple[Sequence[Self], list[Any]]:
        """What it is done again as where its worker was lost, and the answers of what is not. Raises CharterError where
        there is no place for an error."""
        ...


class WorkerFault(NamedTuple):
    """An error of the house, as it comes back from a worker."""

    kind: str
    message: str
    cure: str

    def rebuild(self) -> CharterError:
        """The error."""
        kind: type[CharterError] = getattr(errors, self.kind, EngineError)
        return kind(self.message, self.cure)


class ReplicaWorker:
    """What an actor runs."""

    def __init__(self) -> None:
        self._replica: Any = None

    def load_replica(self, opener: ReplicaOpener) -> WorkerFault | None:
        """Brings the model into memory."""
        try:
            self._replica = opener.open(self._replica)
        except CharterError as error:
            return WorkerFault(type(error).__name__, error.message, error.cure)
        return None

    def do_work(self, opener: ReplicaOpener, chunk: WorkChunk) -> list[Any] | WorkerFault:
        """What the model makes of a chunk."""
        if (fault := self.load_replica(opener)) is not None:
            return fault
        try:
            return chunk.work(self._replica)
        except CharterError as error:
            return WorkerFault(type(error).__name__, error.message, error.cure)


@dataclass(frozen=True)
class RequestChunk:
    """Requests that are asked together of ``method``: ``generate`` or ``score``. ``deaths``: workers that ended while
    they had it."""

    method: str
    requests: Sequence[Request | ScoreRequest]
    done: frozenset[str]
    deaths: int = 0

    def work(self, replica: Any) -> list[Any]:
        """The answers of an engine. Raises EngineError."""
        return list(getattr(replica, self.method)(self.requests, self.done))

    def share_out(self) -> tuple[list[RequestChunk], list[Any]]:
        """Each call by itself, since nobody knows which of them ended the worker; a call that was alone is asked again,
        or has failed. Raises EngineError where a request without a place for its error ends its workers."""
        left = [request for request in self.requests if request.id not in self.done]
        calls = [list(together) for _, together in groupby(left, key=call_of)]
        if len(calls) > 1:
            return [RequestChunk(self.method, call, frozenset()) for call in calls], []
        if self.deaths + 1 < MOST_DEATHS:
            return [RequestChunk(self.method, self.requests, self.done, self.deaths + 1)], []
        return [], [_fail(request) for request in left]


def call_of(request: Request | ScoreRequest) -> str:
    """Labels that are weighed after the same messages are read together."""
    return request.call_id if isinstance(request, ScoreRequest) else request.id


def _fail(request: Request | ScoreRequest) -> Completion | LogLikelihood:
    said = f"it ended {MOST_DEATHS} workers that had nothing else to answer"
    if isinstance(request, Request):
        return Completion(id=request.id, text="", stop="error", error=f"lost workers: {said}")
    if request.label:
        return LogLikelihood(id=request.id, value=0, tokens=0, greedy=False, error=f"lost workers: {said}")
    raise EngineError(f"Cannot score {request.id}: {said}.", "Drop it.")


@dataclass
class WorkerPool:
    """Workers as they are wanted: started, given chunks one at a time, and replaced when they are lost.

    Args:
        cluster: Where they are.
        opener: Opens what they hold.
        options: How many there are, and what each takes.
    """

    cluster: RayCluster
    opener: ReplicaOpener
    options: RayOptions
    _starting: dict[Any, Any] = field(default_factory=dict)
    _idle: list[Any] = field(default_factory=list)
    _busy: dict[Any, tuple[Any, WorkChunk]] = field(default_factory=dict)
    _lost_starts: int = 0

    def __post_init__(self) -> None:
        self.cluster.tenants.append(self)

    @property
    def busy(self) -> int:
        """Chunks under way."""
        return len(self._busy)

    def start_workers(self, wanted: int) -> None:
        """Sees that so many are there or on their way, as far as the options go. Raises as ``RayCluster.join``."""
        options, there = self.options, len(self._starting) + len(self._idle) + len(self._busy)
        missing = min(wanted, options.workers) - there
        if missing > 0:
            self.cluster.make_room(self, missing * options.cpus, missing * options.gpus)
        for _ in range(missing):
            ray = self.cluster.join()
            placed = {"num_cpus": options.cpus, "num_gpus": options.gpus, "scheduling_strategy": "SPREAD"}
            actor = ray.remote(ReplicaWorker).options(max_restarts=0, **placed).remote()
            self._starting[actor.load_replica.remote(self.opener)] = actor

    def hand_out(self, take: Callable[[], WorkChunk | None]) -> None:
        """Gives each idle worker a chunk, as long as ``take`` has one."""
        while self._idle and (chunk := take()) is not None:
            actor = self._idle.pop()
            sent = actor.do_work.remote(self.opener, chunk)
            self._busy[sent] = (actor, chunk)

    def wait_for_chunk(self) -> tuple[Any, list[Any] | None] | None:
        """The next chunk that comes back, with its answers, or with None where its worker was lost. None: a worker was
        started or lost meanwhile, and none came back. Raises what the model raises, and UnavailableError where the
        cluster gives no worker in time."""
        ray, patience = self.cluster.join(), self.options.wait_s
        under_way = [*self._busy, *self._starting]
        ready, _ = ray.wait(under_way, num_returns=1, timeout=None if self._busy else patience)
        if not ready:
            raise UnavailableError(
                f"the cluster gave no worker with {self.options.cpus:g} CPUs and {self.options.gpus:g} GPUs "
                f"within {patience:g} s",
                "Ask for less with cpus and gpus of executor (of tuner, for training), or free some; then: "
                "charter resume",
            )
        sent = ready[0]
        if sent in self._starting:
            self._take_started(ray, sent)
            return None
        actor, chunk = self._busy.pop(sent)
        found, lost = fetch_result(ray, sent)
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

    def rest(self) -> None:
        """Ends the workers that have nothing to do, which frees their memory."""
        actors = [*self._starting.values(), *self._idle]
        if actors:
            ray = self.cluster.join()
            for actor in actors:
                _end_actor(ray, actor)
        self._starting, self._idle = {}, []

    def close(self) -> None:
        """Ends all workers."""
        self.drop_busy()
        self.rest()
        self._lost_starts = 0

    def _take_started(self, ray: ModuleType, sent: Any) -> None:
        actor = self._starting.pop(sent)
        fault, lost = fetch_result(ray, sent)
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


def fetch_result(ray: ModuleType, sent: Any) -> tuple[Any, str]:
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
