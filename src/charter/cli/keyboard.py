"""Keys, lines and longer texts from a terminal."""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import tempfile
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from charter.errors import SpecError

_ARROWS = {b"A": "up", b"B": "down", b"C": "right", b"D": "left"}
_ESCAPE_WAIT = 0.05
"""Seconds in which the rest of an arrow's sequence comes."""
_LONGEST_SEQUENCE = 16


class Keyboard:
    """A terminal whose keys come one by one and without echo, within the ``with`` block. Ctrl-C interrupts as ever."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._before = termios.tcgetattr(handle)

    def __enter__(self) -> Keyboard:
        tty.setcbreak(self._handle, termios.TCSADRAIN)
        return self

    def __exit__(self, *_: object) -> None:
        termios.tcsetattr(self._handle, termios.TCSADRAIN, self._before)

    def read_key(self) -> str:
        """A character, ``enter``, ``up``, ``down``, ``left`` or ``right``; ``end`` where the input ends; empty for any
        other key."""
        first = os.read(self._handle, 1)
        if first in (b"", b"\x04"):
            return "end"
        if first in (b"\r", b"\n"):
            return "enter"
        if first == b"\x1b":
            return self._read_sequence()
        return first.decode("ascii", "ignore") if first.isascii() and first.decode().isprintable() else ""

    def read_line(self) -> str:
        """A line as it is typed, with echo; its end is left out, and so is what is not UTF-8."""
        with self._line_mode():
            line = os.read(self._handle, 1 << 16)
        return line.decode("utf-8", "ignore").rstrip("\r\n")

    def edit_text(self, text: str) -> str:
        """The text as it comes back from ``$VISUAL`` or ``$EDITOR``; a typed line where neither is set. Raises
        SpecError where the editor cannot be started or fails."""
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
        if not editor:
            return self.read_line()
        with self._line_mode(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "answer.txt"
            path.write_text(text, encoding="utf-8", errors="replace")
            try:
                status = subprocess.run([*shlex.split(editor), str(path)], check=False).returncode
            except (OSError, ValueError) as error:
                raise SpecError(f"the editor {editor!r:.80} cannot be started: {error}", cure="Set $EDITOR.") from error
            if status:
                raise SpecError(f"the editor {editor!r:.80} ended with {status}", cure="Nothing was changed.")
            return path.read_text(encoding="utf-8", errors="replace").rstrip("\n")

    def _read_sequence(self) -> str:
        """An arrow; any other sequence is read to its end and is no key, so that its letters are none either."""
        read = b""
        while len(read) < _LONGEST_SEQUENCE and select.select([self._handle], [], [], _ESCAPE_WAIT)[0]:
            read += os.read(self._handle, 1)
            if read not in (b"[", b"O") and (read[-1:].isalpha() or read[-1:] == b"~"):
                break
        return _ARROWS.get(read[1:], "") if read[:1] in (b"[", b"O") else ""

    @contextmanager
    def _line_mode(self) -> Iterator[None]:
        termios.tcsetattr(self._handle, termios.TCSADRAIN, self._before)
        try:
            yield
        finally:
            tty.setcbreak(self._handle, termios.TCSADRAIN)
