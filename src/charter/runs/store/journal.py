"""The journal (what happened, and when; each line carries the hash of the one before), HEAD and the lock."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from charter.errors import LockedError
from charter.records.record import Record, canonical, digest
from charter.runs.store.chains import BEFORE_FIRST, Event, chain_event, iterate_chain
from charter.runs.store.event_shapes import find_shape_fault
from charter.runs.store.files import (
    is_present,
    open_for_append,
    raise_first_fault,
    read_bytes,
    write_line,
)
from charter.runs.store.line_stream import LineStream
from charter.runs.store.regular_files import Fault, find_special_files, translate_os_errors
from charter.runs.store.strict_json import parse_json

JOURNAL, HEAD, SPEC, ENVIRONMENT, LOCK = "journal.jsonl", "HEAD", "spec.yaml", "environment.json", ".lock"
AHEAD = ".ahead"
"""The folder of answers that came before their steps began."""
SCRATCH = (".serving", ".tuning", AHEAD)
"""Folders of a run that only last while it is at work; nothing is read from them later."""


class Head(Record):
    """The completeness marker. ``head`` is the hash of the journal's line ``journal_lines``, which covers the whole
    run; ``records`` covers seals and published results only, so that it is equal between equal runs."""

    head: str
    records: str
    journal_lines: int


class EventList:
    """The events of a journal, each with the place where its line ends. The ids of calls are forgotten where the part
    of a step that they belong to is finished, so that few are held however many calls a run makes."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, Event]] = []  # one list: an interrupt cannot part a size from its event
        self._asked: dict[str, list[Event]] = {}

    def append(self, end: int, event: Event) -> None:
        """Takes the next event."""
        if event["event"] == "asked":
            self._asked.setdefault(event["step"], []).append(event)
        elif event["event"] in ("passed", "sealed"):
            for before in self._asked.pop(event["step"], ()):
                before["ids"] = []
        self.lines.append((end, event))

    @property
    def events(self) -> list[Event]:
        """In order."""
        return [event for _, event in self.lines]


def read_journal(lines: LineStream) -> tuple[list[Event], list[Fault]]:
    """The events of a journal's whole lines, and every fault of its chain. Raises StoreError, DamagedError."""
    kept, faults = _read_events(lines)
    return kept.events, faults


def _read_events(lines: LineStream) -> tuple[EventList, list[Fault]]:
    kept, faults = EventList(), []
    for event, wrong in iterate_chain(JOURNAL, lines, find_shape_fault):
        kept.append(lines.size, event)
        faults += wrong
    return kept, faults


def seal_digests(events: Sequence[Event]) -> dict[str, str]:
    """Digest of each sealed step's seal, in the order of sealing."""
    return {e["step"]: e["seal"] for e in events if e["event"] == "sealed"}


def packed_digests(events: Sequence[Event]) -> dict[str, str]:
    """Digest of the Parquet file of each sealed step whose records lie in one."""
    return {e["step"]: e["parquet"] for e in events if e["event"] == "sealed" and "parquet" in e}


def published_digests(events: Sequence[Event], derived: bool) -> dict[str, str]:
    """Digest of each published file. ``derived`` files (a report with times in it) stay out of the records' hash."""
    files: dict[str, str] = {}
    for event in events:
        if event["event"] == "published" and event["derived"] == derived:
            files |= event["files"]
    return files


def list_open_steps(events: Sequence[Event]) -> list[str]:
    """The steps that were opened and are not sealed, in order."""
    sealed = seal_digests(events)
    return [step for step in dict.fromkeys(e["step"] for e in events if e["event"] == "opened") if step not in sealed]


def find_link_faults(directory: Path, events: Sequence[Event]) -> list[Fault]:
    """Every link and special file in a run, but for what a step at work or a server keeps there. Raises StoreError."""
    return find_special_files(directory, {*SCRATCH, *list_open_steps(events)})


def records_hash(events: Sequence[Event]) -> str:
    """One hash over every seal and every published result, free of times and usage."""
    return digest({"seals": seal_digests(events), "published": published_digests(events, derived=False)})


def expected_head(events: Sequence[Event]) -> Head | None:
    """What HEAD must hold, once the journal says that the run is finished."""
    for event in events:
        if event["event"] == "finished":
            return Head(head=event["hash"], records=event["records"], journal_lines=event["n"])
    return None


def head_bytes(head: Head) -> bytes:
    """HEAD's one spelling on disk."""
    return canonical(head).encode() + b"\n"


def list_erased_rows(events: Sequence[Event]) -> dict[str, str]:
    """The rows of feedback that were erased after the run took them, each with the time of its tombstone."""
    erased = [e for e in events if e["event"] == "human" and e["decision"] == "erase"]
    return {str(event["fields"].get("row")): str(event["at"]) for event in erased}


def read_head(directory: Path) -> Head | None:
    """HEAD as it stands on disk; None where there is none, or not a readable one. Raises StoreError, DamagedError."""
    if not is_present(directory, HEAD):
        return None
    try:
        return Head.model_validate(parse_json(read_bytes(directory / HEAD, directory)))
    except ValueError:
        return None


class Journal:
    """The run's append-only memory. Raises DamagedError where its chain is broken."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / JOURNAL
        self._kept, faults = _read_events(LineStream(self._path, directory))
        raise_first_fault(directory, faults)
        self._handle = open_for_append(self._path)
        self._mutex = threading.Lock()  # calls are also made ahead, in a thread of their own

    @property
    def events(self) -> list[Event]:
        """Every event so far."""
        return self._kept.events

    def append(self, event: str, durable: bool = True, **fields: Any) -> Event:
        """Adds a line with the time; ``durable`` waits for the disk. Raises StoreError; the journal stays whole."""
        with self._mutex:
            size, last = self._kept.lines[-1] if self._kept.lines else (0, BEFORE_FIRST)
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            line = chain_event(last["n"] + 1, last["hash"], {**fields, "event": event, "at": at})
            end = write_line(self._handle, self._path, size, canonical(line).encode())
            self._kept.append(end, line)
        if durable:
            with translate_os_errors(self._path, "written"):
                os.fsync(self._handle)
        return line

    def close(self) -> None:
        """Gives the file back."""
        os.close(self._handle)


class Lock:
    """One process per run: an exclusive lock on a file that names its owner. Raises LockedError."""

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK
        self._handle = open_for_append(path)
        try:
            with translate_os_errors(path, "locked"):
                self._acquire(directory)
            since = datetime.now(UTC).isoformat(timespec="seconds")
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
            write_line(self._handle, path, 0, canonical(owner).encode())
        except BaseException:
            os.close(self._handle)
            raise

    def _acquire(self, directory: Path) -> None:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            try:
                owner = "process {pid} on {host}, since {since}".format(**parse_json(read_bytes(directory / LOCK)))
            except (ValueError, KeyError, TypeError):
                owner = "another process"
            cure = "Wait for it, or stop it; then: charter resume"
            raise LockedError(f"{directory} is in use by {owner}", cure) from error

    def release(self) -> None:
        """Lets the next process in."""
        os.close(self._handle)
