"""A map step whose calls are made ahead, while the step before it is at work.

Each item of the next step is known from one record of the step before. As these are written, a thread hands their items
to the next step's stage, a few at a time. Only the answers that come are kept; the records are thrown away. When the
next step begins, it asks as ever, and is given the answers that are there. So nothing but time depends on the thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, Protocol, runtime_checkable

from charter.ports import Engine, SupportsOverlap
from charter.records.record import Step
from charter.runs.ahead_answers import AheadWriter
from charter.runs.item_parts import Item
from charter.runs.ledger import Ledger, MeteredEngine

_MOST_AT_ONCE = 256
"""Items that are handed to the stage at once: many more than a server has under way."""
_LOOK_SECONDS = 0.05
"""Seconds after which a thread that is to end is told again."""


@runtime_checkable
class Judged(Protocol):
    """A benchmark in which a model judges."""

    @property
    def evaluator(self) -> Engine:
        """The model."""


class NextStep:
    """A map step that is known before its items are: ``Steps.map_next`` does it, and its calls may be made ahead.

    Args:
        name: The step's name.
        stage: Its stage.
        args: The stage's arguments after the items.
        to_items: The items that come of a record of the step at work; None: the record is the item.
    """

    def __init__(
        self, name: str, stage: Callable[..., Any], *args: Any, to_items: Callable[[Any], Sequence[Item]] | None = None
    ) -> None:
        self.name, self.stage, self.args = name, stage, args
        self._to_items = to_items or (lambda record: (record,))

    def may_be_asked_beside(self, args: Sequence[Any]) -> bool:
        """Whether all that it asks is outside of this process, and none of it among ``args`` of the step at work."""
        busy, own = _list_engines(args), _list_engines(self.args)
        free = [engine for engine in own if isinstance(engine, SupportsOverlap) and engine.may_overlap]
        return bool(own) and len(free) == len(own) and not any(engine is other for engine in own for other in busy)

    def ask(self, records: Sequence[Any], step: Step) -> None:
        """Has the stage ask for what comes of the records."""
        items = [item for record in records for item in self._to_items(record)]
        for _ in self.stage(items, *self.args, step=step) if items else ():
            pass


@contextmanager
def ask_ahead(ledger: Ledger, step: Step, following: NextStep, answers: AheadWriter) -> Iterator[Callable[[Any], None]]:
    """Gives what records are handed to while a step is at work. At the end what is under way still comes; where the
    step fails, or is interrupted, it does not."""
    records: SimpleQueue[Any] = SimpleQueue()
    ended = Event()

    def work() -> None:
        with suppress(Exception):  # what is wrong is met again by the step itself, in its turn
            ledger.here.begin(step.path, ledger.read_plan(step.path), answers)
            while (taken := take_records(records)) and not answers.is_ended:
                following.ask(taken, step)
        ended.set()

    thread, at_once = Thread(target=work, name=f"ahead {step.path}", daemon=True), True
    thread.start()
    try:
        yield records.put
        at_once = False
    finally:
        records.put(None)
        try:
            _end_asking(ended, answers, at_once)
        finally:
            thread.join()
            answers.close()


def take_records(records: SimpleQueue[Any]) -> list[Any]:
    """Those that wait, at least one; none where the end (None) comes next, which stays in the queue: a taker that has
    had it with the last records would wait for ever."""
    taken = [records.get()]
    with suppress(Empty):
        while taken[-1] is not None and len(taken) < _MOST_AT_ONCE:
            taken.append(records.get_nowait())
    if taken[-1] is None:
        records.put(taken.pop())
    return taken


def _end_asking(ended: Event, answers: AheadWriter, at_once: bool) -> None:
    """Waits for the end of what is under way; an interrupt meanwhile gives it up. An event is waited for, since Python
    3.11 takes a thread for ended whose ``join`` was interrupted."""
    try:
        while not ended.is_set():
            answers.end(at_once)
            ended.wait(_LOOK_SECONDS)
    except BaseException:
        while not ended.is_set():
            answers.end(at_once=True)
            ended.wait(_LOOK_SECONDS)
        raise


def _list_engines(args: Sequence[Any]) -> list[Engine]:
    """The engines behind a stage's arguments."""
    asked = [arg.evaluator if isinstance(arg, Judged) else arg for arg in args]
    return [one.engine for one in asked if isinstance(one, MeteredEngine)]
