"""Commands that never outlive us: model servers, and training in processes of its own.

A ``Child`` is a command under a warden. It ends, with all its descendants, when ``stop`` is called and when this
process ends in any way, SIGKILL among them.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from charter.models.processes import supervisor
from charter.models.processes.supervisor import redact_secrets

__all__ = ["ManagedProcess", "command_placeholders", "exclusive_lock", "fill_command", "redact_secrets"]

TAIL_LINES = 20
"""Lines of a log that an error shows."""


def command_placeholders(template: str) -> set[str]:
    """The names in braces of a command template. Raises ValueError where its quotes do not match."""
    return {name for word in shlex.split(template) for name in re.findall(r"\{(\w+)\}", word)}


def fill_command(template: str, values: Mapping[str, str]) -> list[str]:
    """The template's words (split as a shell would, and given to no shell) with values for the names in braces."""
    return [re.sub(r"\{(\w+)\}", lambda m: values.get(m[1], m[0]), word) for word in shlex.split(template)]


@contextmanager
def exclusive_lock(path: Path, patience: float) -> Iterator[int]:
    """Holds a lock file that a child may keep on holding (``Child(lock=...)``) until nothing of it is left. Waits up to
    ``patience`` seconds for a child of a process that died. Raises TimeoutError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, deadline = os.open(path, os.O_RDWR | os.O_CREAT, 0o600), time.monotonic() + patience
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{path} is still held") from error
                time.sleep(0.05)
        yield handle
    finally:
        os.close(handle)


class ManagedProcess:
    """A command in a session of its own; what it prints goes to ``log`` (anew), without secrets. ``grace``: seconds
    between SIGTERM and SIGKILL when it is ended. ``lock``: a handle to be held until all has ended."""

    def __init__(self, command: Sequence[str], log: Path, *, grace: float = 10.0, lock: int | None = None) -> None:
        self.command, self.log = list(command), log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
        log.chmod(0o600)
        with log.open("ab") as errors:
            self._warden = subprocess.Popen(
                [sys.executable, "-I", "-S", supervisor.__file__, str(grace), str(log), *self.command],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
                pass_fds=() if lock is None else (lock,),
            )

    def __enter__(self) -> ManagedProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def poll(self) -> int | None:
        """The exit status (128 + n: ended by signal n; 127: it cannot be started); None while it runs."""
        return self._warden.poll()

    def wait(self) -> int:
        """Waits for the command to end by itself; its exit status."""
        return self._warden.wait()

    def stop(self) -> None:
        """Ends the command and all its descendants, and waits until they are gone; nothing where they are."""
        assert self._warden.stdin is not None
        with suppress(BrokenPipeError):
            self._warden.stdin.close()
        self._warden.wait()

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines that it printed, without secrets."""
        with self.log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 65_536))
            text = stream.read().decode(errors="replace")
        return "\n".join(redact_secrets(text).strip().splitlines()[-lines:])
