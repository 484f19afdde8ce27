"""A run under way, in words: how far it is, and how fast."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from charter.reports.printable_text import escape_controls

if TYPE_CHECKING:
    from rich.progress import Progress

    from charter.records.chat import CallProgress

_NOTEWORTHY_SECONDS = 0.5


def rate_in_words(made: float, seconds: float) -> str:
    """How fast: a second, a minute or an hour, whichever gives a number that says something."""
    for unit, length in (("a second", 1), ("a minute", 60)):
        if made * length >= seconds:
            rate = made / seconds * length
            return f"{rate:.0f} {unit}" if rate >= 10 else f"{rate:.1f} {unit}"
    return f"{made / seconds * 3600:.1f} an hour"


def call_in_words(progress: CallProgress, seconds: float) -> str:
    """How far a call is after so many seconds: answers, tokens a second, and about how long it still takes."""
    parts = [f"answers {progress.answered} of {progress.asked}"]
    if progress.tokens:
        parts.append(f"tokens {rate_in_words(progress.tokens, max(seconds, 1e-3))}")
    if 0 < progress.share < 1:
        left = seconds * (1 - progress.share) / progress.share
        parts.append(f"{left / 60:.0f} min left" if left >= 120 else f"{left:.0f} s left")
    return ", ".join(parts)


class ProgressWatcher:
    """Told (step, done, total), and how far a call inside a step is; tells of steps that are done. A step that is whole
    at once was read, not made."""

    def __init__(self, tell: Callable[[str], None], bars: Progress | None = None) -> None:
        self._tell, self._bars = tell, bars
        self._step, self._began, self._first = "", 0.0, 0
        self._done, self._total = 0, 0
        self._call, self._call_began = "", 0.0
        self._bar = bars.add_task("", total=None, visible=False, call="") if bars else None

    def __call__(self, step: str, done: int, total: int) -> None:
        """The observer."""
        if step != self._step:
            self._step, self._began, self._first, self._call = step, time.monotonic(), done, ""
            if self._bars is not None and self._bar is not None:
                self._bars.reset(self._bar, total=total or 1, visible=True, description=escape_controls(step), call="")
                self._bars.update(self._bar, completed=done)
        if self._bars is not None and self._bar is not None:
            self._bars.update(self._bar, completed=done)
        self._done, self._total = done, total
        made, seconds = done - self._first, time.monotonic() - self._began
        if done == total and made and seconds >= _NOTEWORTHY_SECONDS:
            self._first = done
            rate = f", {rate_in_words(made, seconds)}" if made > 1 else ""
            self._tell(f"{step}: {total} in {seconds:.1f} s{rate}" if total > 1 else f"{step}: {seconds:.1f} s")

    def watch_call(self, progress: CallProgress) -> None:
        """Told how far a call is; one that has done nothing yet has just begun."""
        now = time.monotonic()
        if not progress.share:
            self._call_began = now
        self._call = call_in_words(progress, now - self._call_began) if progress.share < 1 else ""
        if self._bars is not None and self._bar is not None:
            self._bars.update(self._bar, call=self._call)

    def beat(self) -> None:
        """Tells how far the step at work is, and the call in it."""
        if self._done < self._total:
            call = f" ({self._call})" if self._call else ""
            seconds = time.monotonic() - self._began
            self._tell(f"{self._step}: {self._done} of {self._total} after {seconds:.0f} s{call}")
