"""The journal of a review queue: lines that several processes append to, each carrying the hash of the one before.

``reviews/NAME.jsonl`` holds the items and ``reviews/NAME.seal.json`` their seal; both are written once. What people
say is appended to ``reviews/NAME.labels.jsonl``. The run's own journal names the seal, so that no queue can go unseen.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from charter.errors import LockedError
from charter.records.record import canonical
from charter.records.step_names import is_inner_name
from charter.runs.store.chains import BEFORE_FIRST, Event, chain_event, read_chain
from charter.runs.store.files import is_present, open_for_append, raise_first_fault, write_line
from charter.runs.store.line_stream import read_lines
from charter.runs.store.regular_files import Fault, FaultError, translate_os_errors
from charter.runs.store.review_shapes import find_review_shape_fault
from charter.runs.store.seals import find_step_faults
from charter.runs.store.strict_json import MAX_LINE_BYTES

REVIEWS = "reviews"
"""The folder of a run that holds what people reviewed."""
_PATIENCE = 30.0
"""Seconds to wait for another process that appends; each takes milliseconds."""
_PAUSE = 0.01


def review_step(queue: str) -> str:
    """The name under which a queue's items are sealed."""
    return f"{REVIEWS}/{queue}"


def review_log_name(queue: str) -> str:
    """The file of a queue's journal."""
    return f"{review_step(queue)}.labels.jsonl"


def review_seals(events: Sequence[Event]) -> dict[str, str]:
    """The digest of each queue's seal, by the run's journal."""
    opened = [e["fields"] for e in events if e["event"] == "human" and e["decision"] == "review"]
    return {str(fields.get("queue")): str(fields.get("seal")) for fields in opened}


class ReviewLog:
    """One queue's journal, opened to read and append. Several processes may hold it open; ``lock`` keeps the others
    out while something is decided on. A last line without its newline was cut by a kill: the next line takes its place.

    Raises DamagedError where the chain is broken."""

    def __init__(self, directory: Path, queue: str) -> None:
        self._root, self._name = directory, review_log_name(queue)
        self._path = directory / self._name
        self._handle = open_for_append(self._path, directory)
        self._size, self._last = 0, BEFORE_FIRST

    @property
    def tip(self) -> str:
        """The hash of the last line that was read or appended."""
        return str(self._last["hash"])

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes from appending. Raises LockedError after half a minute."""
        with translate_os_errors(self._path, "locked"):
            self._acquire()
        try:
            yield
        finally:
            fcntl.flock(self._handle, fcntl.LOCK_UN)

    def read_new(self) -> list[Event]:
        """The whole lines that others appended since the last call. Raises DamagedError."""
        with translate_os_errors(self._path, "read"):
            left = os.fstat(self._handle).st_size - self._size
            if left < 0:
                self._raise(None, "shorter than it was")
            data = self._read(left)
        *lines, torn = data.split(b"\n")
        for number, line in enumerate([*lines, torn], self._last["n"] + 1):
            if len(line) > MAX_LINE_BYTES:
                self._raise(number, f"a line longer than {MAX_LINE_BYTES >> 20} MiB")
        events, faults = read_chain(self._name, lines, find_review_shape_fault, self._last)
        raise_first_fault(self._root, faults)
        self._size += len(data) - len(torn)
        self._last = events[-1] if events else self._last
        return events

    def append(self, event: str, **fields: Any) -> Event:
        """Adds a line with the time and waits for the disk; only under ``lock``, after ``read_new``. Raises
        StoreError; the file stays whole."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = chain_event(self._last["n"] + 1, self._last["hash"], {**fields, "event": event, "at": at})
        size = write_line(self._handle, self._path, self._size, canonical(line).encode())
        with translate_os_errors(self._path, "written"):
            os.fsync(self._handle)
        self._size, self._last = size, line
        return line

    def close(self) -> None:
        """Gives the file back."""
        os.close(self._handle)

    def _acquire(self) -> None:
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() > until:
                    what = f"{self._path} has been locked by another process for {_PATIENCE:.0f} s"
                    raise LockedError(what, "Wait for it, or end it; then try again.") from error
            time.sleep(_PAUSE)

    def _read(self, size: int) -> bytes:
        pieces, at = [], self._size
        while size > 0 and (piece := os.pread(self._handle, size, at)):
            pieces.append(piece)
            at, size = at + len(piece), size - len(piece)
        return b"".join(pieces)

    def _raise(self, line: int | None, what: str) -> None:
        raise FaultError(self._root, Fault(file=self._name, line=line, what=what))


def read_review_log(directory: Path, queue: str) -> tuple[list[Event], list[Fault], str]:
    """A queue's journal as it stands: its events, every fault, and a note where a kill cut its last line."""
    name = review_log_name(queue)
    if not is_present(directory, name):
        return [], [Fault(file=name, line=None, what="the file is missing")], ""
    try:
        reading = read_lines(directory / name, directory)
    except FaultError as error:
        return [], [error.fault], ""
    events, faults = read_chain(name, reading.lines, find_review_shape_fault)
    torn = f"{name}, line {len(events) + 1}: a line that a kill cut (the next one takes its place)"
    return events, faults, torn if reading.torn else ""


def find_queue_faults(directory: Path, queue: str, mark: str) -> tuple[list[Fault], str, str]:
    """Every fault of a queue whose seal has the digest ``mark``, a note, and the hash of its journal's last line.
    Raises StoreError."""
    step = review_step(queue)
    if not is_inner_name(queue) or "/" in queue:
        return [Fault(file=ascii(queue), line=None, what="a name that leads out of the run")], "", ""
    _, faults = find_step_faults(directory, step, mark)
    events, more, note = read_review_log(directory, queue)
    begun = events[0] if events else {}
    if events and not more and (begun["event"], begun.get("seal")) != ("begun", mark):
        more.append(Fault(file=review_log_name(queue), line=1, what="not the beginning of this queue's journal"))
    return faults + more, note, str(events[-1]["hash"]) if events else ""
