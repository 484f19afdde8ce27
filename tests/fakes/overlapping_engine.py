"""An engine whose model is not in this process: each answer takes its time, and any thread may end the asking."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence

from charter.ports import SupportsOverlap
from charter.records.chat import Completion, LogLikelihood, Request, ScoreRequest
from tests.fakes.scripted_run import reply


class OverlappingEngine:
    """Answers as ``scripted_run.reply`` says, one request after the other.

    Args:
        seconds: How long an answer takes.
        watch: Is told of each request when it is asked; what it raises ends the call.
    """

    identity = "elsewhere"
    may_overlap = True

    def __init__(self, seconds: float = 0.0, watch: Callable[[Request], None] | None = None) -> None:
        self.seconds, self.watch = seconds, watch
        self.asked: list[str] = []
        self.threads: set[str] = set()
        self.was_aborted = False
        self.was_drained, self._give_up = threading.Event(), threading.Event()

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        """One after the other, until it is told to end."""
        assert isinstance(self, SupportsOverlap)
        self.was_drained.clear()
        self._give_up.clear()
        for request in (request for request in requests if request.id not in done):
            if self.was_drained.is_set():
                return
            self.asked.append(request.id)
            self.threads.add(threading.current_thread().name)
            if self.watch is not None:
                self.watch(request)
            if self._give_up.wait(self.seconds):
                return
            yield Completion(id=request.id, text=reply(request), tokens_in=100, tokens_out=10)

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        """Nothing."""
        del requests, done
        yield from ()

    def drain(self) -> None:
        self.was_drained.set()

    def abort(self) -> None:
        self.was_aborted = True
        self.was_drained.set()
        self._give_up.set()

    def close(self) -> None: ...
