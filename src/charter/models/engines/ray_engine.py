"""An engine whose copies answer on the workers of a Ray cluster, behind ``ports.Engine``.

The requests of a call are dealt to workers a few at a time, the longest first, and a worker gets more when it has
answered: so a slow one holds no other, and what is under way is bounded. A lost worker's requests are asked again, each
of them alone, since nobody knows which of them ended it. One that ends two workers while it is alone with them is
answered with an error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from math import ceil
from typing import Any

from charter.errors import EngineError
from charter.models.engines.ray_cluster import RayCluster
from charter.models.engines.ray_workers import ReplicaOpener, RequestChunk, WorkerPool
from charter.records.chat import Completion, LogLikelihood, Request, ScoreRequest

Asked = Request | ScoreRequest

MOST_DEATHS = 2
"""Workers that a request may end while it is alone with them."""
CHUNKS_A_WORKER = 4
"""Chunks that a worker gets of a call at least, where there are so many requests."""


class RayEngine:
    """Answers with the engines that ``opener`` opens on the workers of ``cluster``."""

    def __init__(self, opener: ReplicaOpener, cluster: RayCluster) -> None:
        self._pool, self._draining = WorkerPool(cluster, opener), False

    @property
    def identity(self) -> str:
        """The identity of the engine that answers: where it runs changes no answer."""
        return self._pool.opener.identity

    def use_opener(self, opener: ReplicaOpener) -> RayEngine:
        """Answers with what this one opens from now on; workers go on with what they hold, where they can."""
        self._pool.opener = opener
        return self

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        """One completion per request not in ``done``. Raises EngineError, UnavailableError."""
        return self._ask("generate", requests, done)

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        """One log-likelihood per request not in ``done``. Raises EngineError, UnavailableError."""
        return self._ask("score", requests, done)

    def drain(self) -> None:
        """``generate`` yields what is under way, and ends."""
        self._draining = True

    def close(self) -> None:
        """Ends the workers; the next call starts others."""
        self._pool.close()

    def _ask(self, method: str, requests: Sequence[Asked], done: Collection[str]) -> Iterator[Any]:
        waiting = deque(self._form_chunks(method, requests, frozenset(done)))
        self._draining = False
        try:
            while (waiting and not self._draining) or self._pool.busy:
                if not self._draining:
                    self._pool.start_workers(len(waiting) + self._pool.busy)
                    self._pool.hand_out(lambda: waiting.popleft() if waiting else None)
                if (came := self._pool.wait_for_chunk()) is None:
                    continue
                chunk, answers = came
                if answers is not None:
                    yield from answers
                else:
                    again, failed = _share_out(chunk)
                    waiting.extendleft(reversed(again))
                    yield from failed
        finally:
            self._pool.drop_busy()

    def _form_chunks(self, method: str, requests: Sequence[Asked], done: frozenset[str]) -> Iterator[RequestChunk]:
        """The chunks of all requests, whatever is done, less those that are done as a whole."""
        options = self._pool.cluster.options
        ordered = sorted(requests, key=lambda r: (-_measure_length(r), _call_of(r), r.id))
        calls = [list(together) for _, together in groupby(ordered, key=lambda r: (_measure_length(r), _call_of(r)))]
        size = min(options.batch, max(1, ceil(len(requests) / (options.workers * CHUNKS_A_WORKER))))
        chunk: list[Asked] = []
        for call in [*calls, []]:
            if chunk and (not call or len(chunk) + len(call) > size):
                ids = frozenset(request.id for request in chunk)
                if not ids <= done:
                    yield RequestChunk(method, chunk, done & ids)
                chunk = []
            chunk = [*chunk, *call]


def _call_of(request: Asked) -> str:
    """Labels that are weighed after the same messages are read together."""
    return request.call_id if isinstance(request, ScoreRequest) else request.id


def _measure_length(request: Asked) -> int:
    """Characters that are read; the same for all labels of a call."""
    return sum(len(message.content) for message in request.messages)


def _share_out(chunk: RequestChunk) -> tuple[list[RequestChunk], list[Completion | LogLikelihood]]:
    """What a lost worker's chunk is asked again as, and the answers of what is not. Raises EngineError where a request
    without a place for its error ends its workers."""
    left = [request for request in chunk.requests if request.id not in chunk.done]
    if len(chunk.requests) > 1:
        return [RequestChunk(chunk.method, [one], frozenset()) for one in left], []
    if chunk.deaths + 1 < MOST_DEATHS:
        return [RequestChunk(chunk.method, chunk.requests, chunk.done, chunk.deaths + 1)], []
    (request,) = left
    said = f"it ended {MOST_DEATHS} workers that had nothing else to answer"
    if isinstance(request, Request):
        return [], [Completion(id=request.id, text="", stop="error", error=f"lost workers: {said}")]
    if request.label:
        return [], [LogLikelihood(id=request.id, value=0, tokens=0, greedy=False, error=f"lost workers: {said}")]
    raise EngineError(f"Cannot score {request.id}: {said}.", "Drop it.")
