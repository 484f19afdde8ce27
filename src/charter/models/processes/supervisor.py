"""Runs a command, and outlives whoever asked for it just long enough to end it: a script of its own, standard library
only, started by ``Child``.

    python -I -S warden.py GRACE LOG COMMAND...

Standard input is the lifeline: when its other end is gone, however its owner died, the command's process group gets
SIGTERM and, GRACE seconds later, SIGKILL. When the command has ended, whatever it left behind is killed too, also what
moved to a session of its own (Linux: orphans come to the warden, a "child subreaper"). Secrets of the environment are
not handed on, and are blotted out of what the command prints before it reaches LOG.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

SECRET_SUFFIXES = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
"""Endings of the names of variables that hold secrets."""
NEEDED_SECRETS = ("HF_TOKEN",)
"""Secrets that a command needs all the same: to fetch a gated model."""
_SUBREAPER, _DEATH_SIGNAL = 36, 1  # PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG of Linux' prctl


def redact_secrets(text: str) -> str:
    """The text without any secret of the environment."""
    for name, value in os.environ.items():
        if len(value) >= 6 and name.upper().endswith(SECRET_SUFFIXES):
            text = text.replace(value, "***")
    return text


def main(grace: float, log: Path, command: Sequence[str]) -> int:
    """The command's exit status, 128 + n where signal n ended it, 127 where it cannot be started."""
    _prctl(_SUBREAPER, 1)
    environment = {
        k: v for k, v in os.environ.items() if k in NEEDED_SECRETS or not k.upper().endswith(SECRET_SUFFIXES)
    }
    with log.open("ab", buffering=0) as out:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                preexec_fn=lambda: _prctl(_DEATH_SIGNAL, signal.SIGKILL),
            )
        except OSError as error:
            out.write(f"{command[0]} cannot be started: {error.strerror}\n".encode())
            return 127
        assert child.stdout is not None
        copying = threading.Thread(target=_copy, args=(child.stdout, out), daemon=True)
        copying.start()
        over = threading.Event()
        threading.Thread(target=_watch, args=(child, grace, over), daemon=True).start()
        status = child.wait()
        over.set()
        _sweep(child.pid)
        copying.join(grace)
    return status if status >= 0 else 128 - status


def _copy(lines: IO[bytes], out: IO[bytes]) -> None:
    for line in lines:
        with suppress(OSError):  # a full disk must not stop the command
            out.write(redact_secrets(line.decode(errors="replace")).encode())


def _watch(child: subprocess.Popen[bytes], grace: float, over: threading.Event) -> None:
    """Ends the command once nobody holds the lifeline."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, number)
            over.wait(grace)


def _sweep(group: int) -> None:
    """Kills what is left of the command's group, and all that became ours; returns when nothing is left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    while True:
        for pid in _descendants(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _descendants(pid: int) -> list[int]:
    """Processes whose parents lead to ``pid``, as /proc tells it; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            parent = int(entry.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    found, ahead = [], [pid]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += below
        ahead += below
    return found


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
