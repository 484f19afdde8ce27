"""Ctrl-C and SIGTERM while a run is at work: it ends soon, and says what is kept."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import typer

from charter.cli.terminal import print_message

if TYPE_CHECKING:
    from charter.records.chat import CallProgress
    from charter.runs import Observer

GRACE = 3.0
"""Seconds that the work has to end by itself once it is interrupted."""
_USUAL = 128
"""Added to a signal's number it is the exit status, as shells have it."""


class Interrupt:
    """Watches a run, and turns a signal into KeyboardInterrupt. What does not end by then is ended: records are on disk
    as they come, so nothing is lost."""

    def __init__(self, directory: Path, observer: Observer) -> None:
        self._directory, self._observer = directory, observer
        self._step, self._done, self._total = "", 0, 0
        self._number = int(signal.SIGINT)
        self._told = False

    def __call__(self, step: str, done: int, total: int) -> None:
        """The observer."""
        self._step, self._done, self._total = step, done, total
        self._observer(step, done, total)

    def watch_call(self, progress: CallProgress) -> None:
        """Hands on how far a call is."""
        from charter.runs import CallWatcher

        observer: object = self._observer
        if isinstance(observer, CallWatcher):
            observer.watch_call(progress)

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM."""
        return _USUAL + self._number

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal."""
        del frame
        self._number = number
        timer = threading.Timer(GRACE, self._end)
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt

    def tell(self) -> None:
        """Says, once, what is kept and how to go on."""
        if not self._told:
            self._told = True
            at = (
                f" ({self._done:,} of {self._total:,} records of {self._step})"
                if self._step and self._total > 1
                else ""
            )
            print_message(
                f"interrupted; nothing is lost: what was answered is kept{at}. Go on: charter resume {self._directory}"
            )

    def _end(self) -> None:
        self.tell()
        os._exit(self.exit_code)


@contextmanager
def handle_interrupts(directory: Path, observer: Observer) -> Iterator[Observer]:
    """An observer of a run that Ctrl-C and SIGTERM end, with 130 and 143."""
    interrupt, before = Interrupt(directory, observer), {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, interrupt.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    except KeyboardInterrupt as error:
        interrupt.tell()
        raise typer.Exit(interrupt.exit_code) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
