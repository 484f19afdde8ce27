"""The runs under one folder: named by what is listed there, read as they stand, kept in memory while unchanged."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from charter.errors import CharterError, DamagedError, StoreError
from charter.records.measurements import Score
from charter.reports.chain import is_chain
from charter.reports.paired_tests import FINAL_STEP, START_STEP
from charter.runs import store
from charter.runs.reader import RunReader

F = TypeVar("F")
HEADLINES = ("harmlessness", "honesty", "helpfulness")
"""The scores that stand in the list of runs."""
_KEPT_READERS, _KEPT_FIGURES, _KEPT_CARDS = 8, 16, 2_000

RunState = Literal["finished", "paused", "failed", "at work", "stopped", "damaged"]


@dataclass(frozen=True)
class RunStanding:
    """What a run is at, and why it does not go on."""

    state: RunState
    why: str = ""


@dataclass(frozen=True)
class RunCard:
    """A run in the list: ``scores`` before and after by metric."""

    name: str
    method: str
    standing: RunStanding
    scores: dict[str, tuple[Score | None, Score | None]]


class RunShelf:
    """Finds runs by name, and reads no path that is not listed.

    Args:
        root: The folder of runs, or a run's own folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._mutex = threading.Lock()
        self._readers: OrderedDict[Path, tuple[object, RunReader]] = OrderedDict()
        self._cards: OrderedDict[Path, tuple[object, RunCard]] = OrderedDict()
        self._figures: OrderedDict[tuple[Path, str], tuple[RunReader, Any]] = OrderedDict()

    def list_runs(self) -> dict[str, Path]:
        """The folders of runs by name, in order; a step of a chain has the chain's name before its own."""
        if store.is_present(self.root, store.JOURNAL):
            return {self.root.resolve().name: self.root}
        found: dict[str, Path] = {}
        for folder in _list_folders(self.root):
            if store.is_present(folder, store.JOURNAL):
                found.setdefault(folder.name, folder)
            elif is_chain(folder):
                for step in _list_folders(folder):
                    if store.is_present(step, store.JOURNAL):
                        found.setdefault(f"{folder.name}~{step.name}", step)
        return found

    def find_run(self, name: str) -> Path | None:
        """The folder of a run; None where none of this name is listed."""
        return self.list_runs().get(name)

    def open_run(self, directory: Path) -> RunReader:
        """A run as it stands. Raises StoreError, DamagedError."""
        stamp = _stamp_run(directory)
        with self._mutex:
            known = self._readers.get(directory)
        if known is None or known[0] != stamp:
            known = (stamp, RunReader(directory))
        with self._mutex:
            self._readers[directory] = known
            self._readers.move_to_end(directory)
            while len(self._readers) > _KEPT_READERS:
                self._readers.popitem(last=False)
        return known[1]

    def read_card(self, name: str, directory: Path) -> RunCard:
        """A run in the list; one that cannot be read is there too, with the reason."""
        stamp = _stamp_run(directory)
        with self._mutex:
            known = self._cards.get(directory)
        if known is not None and known[0] == stamp and known[1].standing.state != "at work":
            return known[1]
        try:
            card = _make_card(name, self.open_run(directory))
        except CharterError as error:
            card = RunCard(name, "", RunStanding("damaged", error.message), {})
        with self._mutex:
            self._cards[directory] = (stamp, card)
            while len(self._cards) > _KEPT_CARDS:
                self._cards.popitem(last=False)
        return card

    def keep_figures(self, reading: RunReader, compute: Callable[[RunReader], F]) -> F:
        """What ``compute`` makes of a run, made once for each state of it."""
        key = (reading.directory, compute.__name__)
        with self._mutex:
            known = self._figures.get(key)
        if known is None or known[0] is not reading:
            known = (reading, compute(reading))
        with self._mutex:
            self._figures[key] = known
            self._figures.move_to_end(key)
            while len(self._figures) > _KEPT_FIGURES:
                self._figures.popitem(last=False)
        found: F = known[1]
        return found


def read_standing(reading: RunReader) -> RunStanding:
    """What a run is at, from its journal and its lock."""
    if reading.head is not None:
        return RunStanding("finished")
    work = [event for event in reading.events if event["event"] != "human"]
    last = work[-1] if work else {}
    if last.get("event") == "paused":
        return RunStanding("paused", last["error"])
    if last.get("event") == "failed":
        return RunStanding("failed", last["error"])
    if last.get("event") == "interrupted":
        return RunStanding("stopped", "it was interrupted")
    return RunStanding("at work") if _is_owned(reading.directory) else RunStanding("stopped", "its process ended")


def _is_owned(directory: Path) -> bool:
    """Whether a living process of another program holds the run: the studio itself only holds one to add a vote."""
    if not store.is_present(directory, store.LOCK):
        return False
    try:
        owner = store.parse_json(store.read_bytes(directory / store.LOCK, directory))
        pid = int(owner["pid"])
    except (ValueError, KeyError, TypeError, StoreError):
        return False
    if pid == os.getpid() or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _make_card(name: str, reading: RunReader) -> RunCard:
    before, after = reading.scores(f"{START_STEP}_scores"), reading.scores(f"{FINAL_STEP}_scores")
    scores = {metric: (before.get(metric), after.get(metric)) for metric in HEADLINES}
    return RunCard(name, reading.spec.method, read_standing(reading), scores)


def _list_folders(root: Path) -> Iterator[Path]:
    """The folders in a folder, in order, without links and hidden ones. Raises StoreError."""
    with store.translate_os_errors(root, "read"):
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            yield root / entry.name


def _stamp_run(directory: Path) -> tuple[int, int, int]:
    """What tells one state of a run from another: all that happens to it is in its journal."""
    with store.translate_os_errors(directory / store.JOURNAL, "read"):
        found = os.lstat(directory / store.JOURNAL)
    if not found.st_size:
        raise DamagedError(f"{directory / store.JOURNAL} is empty", store.RESTORE_CURE)
    return (found.st_size, found.st_mtime_ns, found.st_ino)
