"""The lines of a JSONL file, found by their place.

Where lines begin is learnt as far as it is asked for, and kept for every 64th line: a page reads its own lines alone,
and the index of ten million records takes 1.3 MB.
"""

from __future__ import annotations

import os
import threading
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from charter.runs.store.regular_files import open_regular, translate_os_errors

_STRIDE = 64
_PIECE = 4 << 20


class IndexedLines:
    """The whole lines among the first ``size`` bytes of a file. Methods raise StoreError, DamagedError.

    Args:
        path: The file.
        root: The run's folder; no link is followed below it.
        size: In bytes.
    """

    def __init__(self, path: Path, root: Path, size: int) -> None:
        self._path, self._root, self._size = path, root, size
        self._starts, self._count, self._at = array("Q", [0]), 0, 0
        self._mutex = threading.Lock()

    def __len__(self) -> int:
        """How many there are; the file is read once for it."""
        self._learn_lines(None)
        return self._count

    def has_line(self, number: int) -> bool:
        """Whether there is a line of this number; the file is read no further than to it."""
        return number >= 0 and self._learn_lines(number)

    def iterate_lines(self, first: int) -> Iterator[bytes]:
        """The lines from number ``first`` on, counted from 0, without their newlines."""
        if not self._learn_lines(first):
            return
        with translate_os_errors(self._path, "read"), self._open() as stream:
            self._seek(stream, first)
            left = self._size - stream.tell()
            while left > 0 and (line := stream.readline(left)).endswith(b"\n"):
                left -= len(line)
                yield line[:-1]

    def read_lines(self, numbers: Iterable[int]) -> list[bytes]:
        """The lines of these numbers, counted from 0, without their newlines. Raises IndexError too, where there is no
        such line."""
        found, following = [], -1
        with translate_os_errors(self._path, "read"), self._open() as stream:
            for number in numbers:
                if not self.has_line(number):
                    raise IndexError(number)
                if number != following:
                    self._seek(stream, number)
                found.append(stream.readline()[:-1])
                following = number + 1
        return found

    def read_pieces(self) -> Iterator[tuple[int, bytes]]:
        """The lines with their newlines, as many as a piece holds, each with the number of its first one."""
        number = 0
        with translate_os_errors(self._path, "read"), self._open() as stream:
            left, rest = self._size, b""
            while piece := stream.read(min(left, _PIECE)):
                left -= len(piece)
                whole, newline, torn = (rest + piece).rpartition(b"\n")
                rest = torn
                if newline:
                    yield number, whole + newline
                    number += whole.count(b"\n") + 1

    def _open(self) -> BinaryIO:
        with translate_os_errors(self._path, "read"):
            return os.fdopen(open_regular(self._path, self._root), "rb")

    def _seek(self, stream: BinaryIO, number: int) -> None:
        stream.seek(self._starts[number // _STRIDE])
        for _ in range(number % _STRIDE):
            stream.readline()

    def _learn_lines(self, number: int | None) -> bool:
        """Learns where lines begin, as far as this one (None: all of them). Whether there is such a line."""
        with self._mutex:
            if (number is not None and number < self._count) or self._at >= self._size:
                return number is not None and number < self._count
            with translate_os_errors(self._path, "read"), self._open() as stream:
                stream.seek(self._at)
                while self._at < self._size and (number is None or number >= self._count):
                    piece = stream.read(min(_PIECE, self._size - self._at))
                    if not piece:
                        self._at = self._size
                        break
                    self._take_piece(piece)
            return number is not None and number < self._count

    def _take_piece(self, piece: bytes) -> None:
        place = piece.find(b"\n")
        while place >= 0:
            self._count += 1
            if self._count % _STRIDE == 0:
                self._starts.append(self._at + place + 1)
            place = piece.find(b"\n", place + 1)
        self._at += len(piece)
