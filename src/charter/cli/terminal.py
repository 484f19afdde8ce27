"""What goes to the terminal: machine output and tables on stdout, progress and messages on stderr."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charter.errors import CharterError
from charter.reports.printable_text import escape_controls

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from charter.records.chat import CallProgress
    from charter.runs import Observer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no tables; errors only.")]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a key of the spec, e.g. options.draw.batch=60; repeatable."
    ),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)]

_NOTEWORTHY_SECONDS = 0.5
_HEARTBEAT_SECONDS = 30.0


def open_console(stderr: bool = False) -> Console:
    """A console that reads no markup in what it prints."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)


def print_message(text: object) -> None:
    """A message on stderr."""
    print(escape_controls(text), file=sys.stderr)


def print_error(error: CharterError) -> None:
    """What happened and what to do, on stderr."""
    print_message(f"charter: {error.message}")
    if error.cure:
        print_message(f"  {error.cure}")


def print_json(value: Any) -> None:
    """One JSON document on stdout. Control characters are escaped by JSON itself."""
    print(json.dumps(value, indent=2, ensure_ascii=True))


def print_out(text: str, data: bool = False) -> None:
    """Text on stdout. ``data`` goes into a file as it is; whatever a person reads is made safe."""
    sys.stdout.write(text if data and not sys.stdout.isatty() else escape_controls(text))
    if not text.endswith("\n"):
        sys.stdout.write("\n")


def print_table(rows: Sequence[Sequence[object]], title: str = "", numbers: Sequence[int] = ()) -> None:
    """A table on stdout: the first row is its head; ``numbers`` are the columns set to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(rows[0]):
        table.add_column(
            Text(escape_controls(name)),
            justify="right" if place in numbers else "left",
            overflow="fold",
            no_wrap=place in numbers,
        )
    for row in rows[1:]:
        table.add_row(*(Text(escape_controls(cell)) for cell in row))
    out = open_console()
    if not out.is_terminal:
        out.width = 160
    out.print(table, soft_wrap=False)


def parse_changes(given: Sequence[str] | None) -> dict[str, str]:
    """``key=value`` options as a mapping. Exits with a usage error where one has no ``=``."""
    pairs = [text.partition("=") for text in given or ()]
    for key, equals, _ in pairs:
        if not equals or not key:
            raise typer.BadParameter(f"{key!r} is not KEY=VALUE", param_hint="--set")
    return {key: value for key, _, value in pairs}


@contextmanager
def watch_progress(quiet: bool = False) -> Iterator[Observer]:
    """An observer: on a terminal a bar with rate and time left, elsewhere a line for each longer step."""
    if quiet:
        yield lambda *_: None
        return
    out = open_console(stderr=True)
    if not out.is_terminal:
        watcher = ProgressWatcher(print_message)
        with _heartbeat(watcher):
            yield watcher
        return
    with _progress_bars(out) as bars:
        yield ProgressWatcher(lambda text: bars.console.print(escape_controls(text)), bars)


@contextmanager
def _heartbeat(watcher: ProgressWatcher) -> Iterator[None]:
    """Tells now and then how far a long step is, while it is at work."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_HEARTBEAT_SECONDS):
            watcher.beat()

    thread = threading.Thread(target=beat, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


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


def _progress_bars(out: Console) -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Items a second."""

        def render(self, task: Any) -> Text:
            return Text(rate_in_words(task.speed, 1) if task.speed else "")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[call]}", markup=False),
        console=out,
        transient=True,
    )
