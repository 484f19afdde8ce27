"""Runs at work: each is a process of its own, ``charter run`` or ``charter resume``, which outlives the studio."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

from charter.errors import LockedError, SpecError
from charter.runs import store

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
PROGRAM = (sys.executable, "-m", "charter.cli")
MAX_AT_WORK, _TOLD_BYTES = 4, 4_000


@dataclass
class RunProcess:
    """One process: what it was told to do, and a handle of the nameless file that takes what it says on stderr."""

    name: str
    words: tuple[str, ...]
    process: subprocess.Popen[bytes]
    log: int

    @property
    def exit_code(self) -> int | None:
        """None while it is at work."""
        return self.process.poll()

    @property
    def last_words(self) -> str:
        """The end of what it said, read without moving the place at which the process writes."""
        size = os.fstat(self.log).st_size
        told = os.pread(self.log, _TOLD_BYTES, max(0, size - _TOLD_BYTES))
        return told.decode(errors="replace")


@dataclass
class RunProcesses:
    """Starts runs in one folder, a few at a time."""

    root: Path
    _started: dict[str, RunProcess] = field(default_factory=dict)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    @property
    def started(self) -> list[RunProcess]:
        """Every process that the studio started, the last of each run."""
        return list(self._started.values())

    def begin_run(self, recipe: str, name: str) -> RunProcess:
        """Begins a run of a shipped recipe.

        Args:
            recipe: Its name.
            name: The new run's folder within the folder of runs.

        Raises:
            SpecError: No such recipe, or a name that is none or taken.
            LockedError: Enough runs are at work.
        """
        from charter import spec as specs

        if recipe not in specs.list_recipes():
            raise SpecError(f"{recipe!r} is no shipped recipe", cure="Choose one of the list.")
        if not _RUN_NAME.fullmatch(name) or store.is_present(self.root, name):
            cure = "Use letters, digits, dots and hyphens, and a name that no folder has."
            raise SpecError(f"{name!r} cannot name a new run", cure=cure)
        return self._spawn(name, ("run", recipe, "--out", str(self.root / name), "--quiet"))

    def resume_run(self, name: str, directory: Path) -> RunProcess:
        """Goes on with a run. Raises LockedError where it is at work already, or enough others are."""
        return self._spawn(name, ("resume", str(directory), "--quiet"))

    def _spawn(self, name: str, words: tuple[str, ...]) -> RunProcess:
        with self._mutex:
            at_work = [found for found in self._started.values() if found.exit_code is None]
            if name in [found.name for found in at_work]:
                raise LockedError(f"{name} is at work already", "Wait for it.")
            if len(at_work) >= MAX_AT_WORK:
                raise LockedError(f"{len(at_work)} runs are at work", "Wait for one of them.")
            with tempfile.TemporaryFile() as file:
                log = os.dup(file.fileno())
            process = subprocess.Popen(
                [*PROGRAM, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
            if (before := self._started.pop(name, None)) is not None:
                os.close(before.log)
            self._started[name] = RunProcess(name, words, process, log)
            return self._started[name]
