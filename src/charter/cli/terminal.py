"""What goes to the terminal: machine output and tables on stdout, progress and messages on stderr."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charter.errors import CharterError
from charter.reports.printable_text import escape_controls
from charter.reports.progress import ProgressWatcher, rate_in_words

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

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
