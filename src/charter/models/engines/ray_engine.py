"""A model whose copies answer on the workers of a Ray cluster, behind ``ports.Engine``.

Work is dealt to workers a little at a time, of requests the longest first, and a worker gets more when it has answered:
so a slow one holds no other, and what is under way is bounded. A lost worker's calls are asked again, each of them
alone, since nobody knows which of them ended it. One that ends two workers while it is alone with them is answered with
an error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from math import ceil
from typing import Any, TypeVar

from charter.models.engines.ray_cluster import RayCluster, RayOptions
from charter.models.engines.ray_workers import ReplicaOpener, RequestChunk, WorkChunk, WorkerPool, call_of
from charter.ports import Rendering
from charter.records.chat import Completion, LogLikelihood, Request, ScoreRequest

Asked = Request | ScoreRequest
Chunk = TypeVar("Chunk", bound=WorkChunk)

CHUNKS_A_WORKER = 4
"""Chunks that a worker gets of a call at least, where there are so many requests."""


class RayEngine:
    """Answers with what ``opener`` opens on the workers of ``cluster``. ``options``: how many workers, and what each
    takes (None: as the cluster's); ``reader``: shows what the model reads, in this process and without weights."""

    def __init__(
        self,
        opener: ReplicaOpener,
        cluster: RayCluster,
        options: RayOptions | None = None,
        reader: Rendering | None = None,
    ) -> None:
        self._pool, self._draining = WorkerPool(cluster, opener, options or cluster.options), False
        self._reader = reader

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

    @property
    def renders(self) -> bool:
        """Whether it shows what the model reads."""
        return self._reader is not None and self._reader.renders

    def render(self, request: Request | ScoreRequest) -> str:
        """What the model reads before it answers a request; nothing where it does not render."""
        return "" if self._reader is None else self._reader.render(request)

    def run_chunks(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, list[Any]]]:
        """Each chunk with what a worker made of it, as they come. Raises what the model raises, UnavailableError."""
        waiting = deque(chunks)
        self._draining = False
        try:
            while (waiting and not self._draining) or self._pool.busy:
                if not self._draining:
                    self._pool.start_workers(len(waiting) + self._pool.busy)
                    self._pool.hand_out(lambda: waiting.popleft() if waiting else None)
                if (came := self._pool.wait_for_chunk()) is None:
                    continue
                chunk, answers = came
                if answers is None:
                    again, answers = chunk.share_out()
                    if again:
                        waiting.extendleft(reversed(again))
                        continue
                yield chunk, answers
        finally:
            self._pool.drop_busy()

    def _ask(self, method: str, requests: Sequence[Asked], done: Collection[str]) -> Iterator[Any]:
        for _, answers in self.run_chunks(self._form_chunks(method, requests, frozenset(done))):
            yield from answers

    def _form_chunks(self, method: str, requests: Sequence[Asked], done: frozenset[str]) -> Iterator[RequestChunk]:
        """The chunks of all requests, whatever is done, less those that are done as a whole."""
        options = self._pool.options
        ordered = sorted(requests, key=lambda r: (-_measure_length(r), call_of(r), r.id))
        calls = [list(together) for _, together in groupby(ordered, key=lambda r: (_measure_length(r), call_of(r)))]
        size = min(options.batch, max(1, ceil(len(requests) / (options.workers * CHUNKS_A_WORKER))))
        chunk: list[Asked] = []
        for call in [*calls, []]:
            if chunk and (not call or len(chunk) + len(call) > size):
                ids = frozenset(request.id for request in chunk)
                if not ids <= done:
                    yield RequestChunk(method, chunk, done & ids)
                chunk = []
            chunk = [*chunk, *call]


def _measure_length(request: Asked) -> int:
    """Characters that are read; the same for all labels of a call."""
    return sum(len(message.content) for message in request.messages)
