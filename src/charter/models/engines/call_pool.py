"""Calls that are under way at once, and how often each was tried."""

from __future__ import annotations

import asyncio
import signal
import threading
import warnings
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Literal, TypeVar

from charter.errors import CharterError
from charter.models.engines.replicas import Replica
from charter.records.chat import Completion, Request, ScoreRequest

T = TypeVar("T")

GATHER_SECONDS = 0.01
"""Seconds in which answers are gathered before they are handed on; new calls begin meanwhile."""


@dataclass
class CallPool:
    """The calls of one ``generate`` or ``score``. ``stopped``: nothing more is asked, what is under way still comes."""

    waiting: deque[Request | ScoreRequest]
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    answers: deque[Any] = field(default_factory=deque)
    error: CharterError | None = None

    def fail(self, error: CharterError) -> None:
        """The first loss counts, and ends the asking."""
        self.error = self.error or error
        self.stopped.set()

    def abort(self) -> None:
        """Nothing more is asked, and what is under way is given up. Only within the loop's thread."""
        self.stopped.set()
        for task in self.tasks:
            task.cancel()
        self.changed.set()

    @property
    def has_waiting(self) -> bool:
        """There is something left to ask."""
        return bool(self.waiting) and not self.stopped.is_set()

    async def run_calls(
        self, ask: Callable[[Request | ScoreRequest, CallPool], Coroutine[Any, Any, None]], most: int
    ) -> None:
        """Keeps ``most`` calls of ``ask`` under way, or as many as wait, until there is news."""
        loop = asyncio.get_running_loop()

        def start() -> None:
            task = loop.create_task(ask(self.waiting.popleft(), self))
            self.tasks.add(task)
            task.add_done_callback(ended)

        def ended(task: asyncio.Task[None]) -> None:
            self.tasks.discard(task)
            self.changed.set()
            if self.has_waiting and not task.cancelled():
                start()

        while self.has_waiting and len(self.tasks) < most:
            start()
        self.changed.clear()
        if self.tasks:
            await self.changed.wait()
            await asyncio.sleep(GATHER_SECONDS)


@dataclass
class CallTries:
    """How often a request failed, in all and since the model was last seen to answer; why it goes without its schema
    (``plain``); a reply that ran into white space; and the server that was asked last."""

    failures: int = 0
    counted: int = 0
    plain: Literal["", "refused", "failed", "blanks"] = ""
    blank: Completion | None = None
    server: Replica = field(default_factory=lambda: Replica((), ""))

    def add_tokens(self, answer: Any) -> Any:
        """The answer with the tokens of the one that was thrown away before it."""
        if self.blank is None:
            return answer
        spent = {key: getattr(answer, key) + getattr(self.blank, key) for key in ("tokens_in", "tokens_out")}
        return answer.model_copy(update=spent)


def run_until_done(loop: asyncio.AbstractEventLoop, work: Awaitable[T]) -> T:
    """Runs the loop until ``work`` is done; the libraries' warnings stay out of the caller's way."""
    task = asyncio.ensure_future(work, loop=loop)
    task.add_done_callback(lambda _: loop.stop())
    try:
        while not task.done():
            with silence_libraries(), delay_signals(loop):
                loop.run_forever()
        return task.result()
    finally:
        task.cancel()


@contextmanager
def silence_libraries() -> Iterator[None]:
    """Their warnings are left out: in the main thread all of them. Python keeps one list of filters for all threads, so
    that another thread only adds one, and takes none back."""
    if threading.current_thread() is not threading.main_thread():
        warnings.filterwarnings("ignore", module="inspect_ai")
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def delay_signals(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """A signal stops the loop, and is handled when the block ends: an interrupt that is raised in the middle of a call
    breaks the clean-up of the libraries, which then print it."""
    came: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        del frame
        came.append(number)
        loop.call_soon_threadsafe(loop.stop)

    before: dict[int, Callable[[int, FrameType | None], Any]] = {}
    if threading.current_thread() is threading.main_thread():
        for number in map(int, (signal.SIGINT, signal.SIGTERM)):
            if callable(handler := signal.getsignal(number)):
                before[number] = handler
                signal.signal(number, receive)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in came:
        before[number](number, None)
