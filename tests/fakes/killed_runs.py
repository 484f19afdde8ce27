"""Kills real processes at chosen moments of a small run, lets others go on, and compares with a run left in peace.

    python -m tests.fakes.killed_runs FOLDER N SIGNAL      SIGNAL: KILL or INT; prints a JSON object

A moment is a call that changes the disk (a write, a flush, a rename, a cut): the signal comes before it, after it or,
for a write, when half of it is done. Children are forked from one warm process, so each costs milliseconds.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charter.errors import StoreError
from charter.reports.integrity import verify_run
from charter.runs.store import read_lines
from tests.fakes.scripted_run import begin, echo, play, substance

INTERRUPTED = 130


@dataclass
class Trap:
    """Counts moments; at the chosen one the process sends itself the signal."""

    at: int
    mode: str = "before"
    number: int = signal.SIGKILL
    seen: int = 0
    places: list[str] = field(default_factory=list)

    def around(self, name: str, real: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self.seen += 1
        self.places.append(name)
        if self.seen != self.at:
            return real(*args, **options)
        if self.mode == "after":
            result = real(*args, **options)
            os.kill(os.getpid(), self.number)
            return result
        if self.mode == "half" and name in ("pwrite", "write_bytes"):
            self._half(real, args)
        os.kill(os.getpid(), self.number)
        return real(*args, **options)

    @staticmethod
    def _half(real: Callable[..., Any], args: tuple[Any, ...]) -> None:
        real(args[0], args[1][: len(args[1]) // 2], *args[2:])

    def set(self) -> None:
        """Puts itself around everything that changes the disk; for good, so only in a child."""
        for owner, name in (
            (os, "pwrite"),
            (os, "fsync"),
            (os, "ftruncate"),
            (os, "replace"),
            (os, "rename"),
            (os, "mkdir"),
            (os, "rmdir"),
            (pathlib.Path, "write_bytes"),
        ):
            real = getattr(owner, name)
            setattr(owner, name, self._wrapped(name, real))

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **options: self.around(name, real, *args, **options)


def child(directory: Path, trap: Trap | None, shuffle: int) -> int:
    """Plays the run to its end in a forked process, or until the trap springs; the status as os.wait gives it."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if trap is not None:
            trap.set()
        with begin(directory) as run:
            play(run, echo(shuffle))
        status = 0
    except KeyboardInterrupt:
        status = INTERRUPTED
    finally:
        os._exit(status)


def moments(directory: Path) -> list[str]:
    """The moments of one run, in order."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        trap = Trap(at=0)
        trap.set()
        with begin(directory) as run:
            play(run)
        os.write(writing, json.dumps(trap.places).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        places: list[str] = json.load(stream)
    os.waitpid(pid, 0)
    return places


def disturb(folder: Path, number: int, total: int, sent: int, draw: random.Random) -> tuple[int, list[str]]:
    """Disturbs one run, up to three times; the number of signals that hit, and what is wrong."""
    directory, hits, wrong = folder / f"run{number}", 0, []
    at = 1 + number % total
    for _ in range(draw.choice((1, 1, 2, 3))):
        trap = Trap(at=at, mode=draw.choice(("before", "half", "after")), number=sent)
        status = child(directory, trap, shuffle=draw.randrange(100))
        hit = os.WIFSIGNALED(status) if sent == signal.SIGKILL else os.waitstatus_to_exitcode(status) == INTERRUPTED
        hits += hit
        if not hit and status != 0:
            wrong.append(f"run{number}: status {status} at {at} ({trap.mode})")
        if sent == signal.SIGINT and read_lines(directory / "journal.jsonl").torn:
            wrong.append(f"run{number}: an interrupt tore the journal at {at} ({trap.mode})")
        at = draw.randrange(1, total + 1)
    if child(directory, None, shuffle=draw.randrange(100)) != 0:
        wrong.append(f"run{number}: cannot go on to the end")
    return hits, wrong


def campaign(folder: Path, n: int, sent: int) -> dict[str, Any]:
    """``n`` runs, each disturbed at least once; equal to the run in peace, verified, and nothing left behind."""
    peace, wrong, hits = folder / "peace", [], 0
    places = moments(peace)
    expected, records = substance(peace), verify_run(peace)
    draw = random.Random(n)
    stride = max(1, len(places) // n)
    for number in range(n):
        struck, faults = disturb(folder, number * stride, len(places), sent, draw)
        hits += struck
        wrong += faults
        directory = folder / f"run{number * stride}"
        try:
            result = verify_run(directory)
        except StoreError as error:
            wrong.append(f"run{number * stride}: {error}")
            continue
        wrong += [f"{directory.name}: {fault}" for fault in result.faults]
        if not result.finished or substance(directory) != expected:
            changed = {k for k, v in substance(directory).items() if expected.get(k) != v} | (
                expected.keys() - substance(directory).keys()
            )
            wrong.append(f"{directory.name}: other files than in peace: {sorted(changed)}")
        if (
            json.loads((directory / "HEAD").read_text())["records"]
            != json.loads((peace / "HEAD").read_text())["records"]
        ):
            wrong.append(f"{directory.name}: another hash of the records")
        shutil.rmtree(directory)
    return {"runs": n, "signals": hits, "moments": len(places), "wrong": wrong, "peace_ok": records.ok}


if __name__ == "__main__":
    where, count, kind = sys.argv[1:]
    print(json.dumps(campaign(Path(where), int(count), {"KILL": signal.SIGKILL, "INT": signal.SIGINT}[kind])))
