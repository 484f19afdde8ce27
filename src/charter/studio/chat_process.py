"""Both models of a run in a process of their own, ``charter chat``, one run at a time: the studio loads no weights."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from charter.errors import EngineError, LockedError
from charter.studio import run_processes

PATIENCE = 300.0
"""Seconds to wait for two answers; the first time weights load."""
_TOLD_BYTES, _MAX_ANSWER_BYTES = 4_000, 1 << 20


@dataclass
class ChatProcess:
    """The process that is at work, if there is one. One prompt at a time is asked."""

    patience: float = PATIENCE
    _directory: Path | None = None
    _process: subprocess.Popen[bytes] | None = None
    _log: int = -1
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def ask_both(self, directory: Path, prompt: str) -> dict[str, str]:
        """What both models of a run say to a prompt: ``base`` and ``aligned``. The models of another run are ended
        first. Raises EngineError where there is no answer, LockedError where somebody else is being answered."""
        if not self._mutex.acquire(blocking=False):
            raise LockedError("the models are answering somebody else", "Ask again in a moment.")
        try:
            process = self._start(directory)
            answer = self._exchange(process, json.dumps(prompt).encode() + b"\n")
            found = json.loads(answer)
            return {side: str(found[side]) for side in ("base", "aligned")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            told = self._read_log()
            self._end()
            raise EngineError(told or "the models gave no answer", "Try it at a terminal: charter chat RUN") from error
        finally:
            self._mutex.release()

    def close(self) -> None:
        """Ends the process, also while it answers."""
        if (process := self._process) is not None:
            process.kill()
        with self._mutex:
            self._end()

    def _start(self, directory: Path) -> subprocess.Popen[bytes]:
        if self._process is not None and self._directory == directory and self._process.poll() is None:
            return self._process
        self._end()
        with tempfile.TemporaryFile() as file:
            self._log = os.dup(file.fileno())
        where = str(directory.absolute())  # a relative one could begin like an option
        words = [*run_processes.PROGRAM, "chat", where, "--json"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=self._log, bufsize=0)
        self._directory = directory
        return self._process

    def _exchange(self, process: subprocess.Popen[bytes], line: bytes) -> bytes:
        """Writes a line and reads one. Raises OSError where none comes."""
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line)
        answer, until = b"", time.monotonic() + self.patience
        while not answer.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                raise TimeoutError
            piece = os.read(process.stdout.fileno(), 1 << 16)
            if not piece or len(answer) > _MAX_ANSWER_BYTES:
                raise BrokenPipeError
            answer += piece
        return answer

    def _read_log(self) -> str:
        """The end of what the process said on stderr, once it has ended."""
        if self._process is None:
            return ""
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            return "the models gave no answer in time"
        start = max(0, os.fstat(self._log).st_size - _TOLD_BYTES)
        return os.pread(self._log, _TOLD_BYTES, start).decode(errors="replace").strip()

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        os.close(self._log)
        self._process, self._directory, self._log = None, None, -1
