"""Files of lines, read one line at a time: however long a file is, no more than one line of it is held."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from charter.errors import DamagedError
from charter.runs.store.files import sha256
from charter.runs.store.parquet_lines import PARQUET, ParquetLines
from charter.runs.store.regular_files import RESTORE_CURE, Fault, FaultError, open_regular, translate_os_errors
from charter.runs.store.strict_json import MAX_LINE_BYTES, parse_json

R = TypeVar("R", bound=BaseModel)
Watch = Callable[[int], None]
"""Is told how many lines were read so far."""

WATCH_EVERY = 8192
"""Lines between two words to who watches."""
MAX_COMPARED = 100_000
"""Lines of a damaged file that are compared as a whole; of a longer one only the first damage is found."""
_BUFFER = 1 << 20


class FileLines(NamedTuple):
    """The whole lines of a file, their size in bytes with newlines, and what follows the last newline."""

    lines: list[bytes]
    size: int
    torn: bytes


class LineStream:
    """The whole lines of a file, each without its newline, or those that a Parquet file holds; a missing file has none.

    After a pass ``size`` is their size in bytes with newlines, and ``torn`` what follows the last newline. Each pass
    reads the file anew.

    Args:
        path: The file.
        root: The run's folder; None: the file's own.
    """

    def __init__(self, path: Path, root: Path | None = None) -> None:
        self.path, self.root = path, path.parent if root is None else root
        self.count, self.size, self.torn = 0, 0, b""

    def __iter__(self) -> Iterator[bytes]:
        """Raises StoreError, and DamagedError where a line is too long or the file is none that is read."""
        self.count, self.size, self.torn = 0, 0, b""
        lines = ParquetLines(self.path, self.root).iterate_lines() if self.path.suffix == PARQUET else self._read_file()
        for line in lines:
            if len(line) > MAX_LINE_BYTES:
                what = f"a line longer than {MAX_LINE_BYTES >> 20} MiB"
                name = self.path.relative_to(self.root).as_posix()
                raise FaultError(self.root, Fault(file=name, line=self.count + 1, what=what))
            self.count += 1
            self.size += len(line) + 1
            yield line

    def _read_file(self) -> Iterator[bytes]:
        with translate_os_errors(self.path, "read"):
            try:
                handle = open_regular(self.path, self.root)
            except FileNotFoundError:
                return
            with os.fdopen(handle, "rb", _BUFFER) as stream:
                while line := stream.readline(MAX_LINE_BYTES + 2):
                    if not line.endswith(b"\n") and len(line) <= MAX_LINE_BYTES:
                        self.torn = line
                        return
                    yield line.removesuffix(b"\n")


def read_lines(path: Path, root: Path | None = None) -> FileLines:
    """All lines of a file that is known to be small. Raises as ``LineStream`` does."""
    stream = LineStream(path, root)
    lines = list(stream)
    return FileLines(lines, stream.size, stream.torn)


def parse_records(path: Path, lines: Iterable[bytes], kind: type[R], first: int = 1) -> list[R]:
    """Reads a record from each line; ``first``: the number of the first one. Raises DamagedError naming file and
    line."""
    return list(iterate_records(path, lines, kind, first))


def iterate_records(path: Path, lines: Iterable[bytes], kind: type[R], first: int = 1) -> Iterator[R]:
    """As ``parse_records``, one record at a time."""
    for number, line in enumerate(lines, first):
        yield parse_record(path, number, line, kind)


def parse_record(path: Path, number: int, line: bytes, kind: type[R]) -> R:
    """The record of a line. Raises DamagedError naming file and line."""
    try:
        parse_json(line, finite=False)
        return kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "record"
        raise DamagedError(f"{path}, line {number}: {where}: {first['msg']}", RESTORE_CURE) from error
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path}, line {number}: not JSON that is read: {error}", RESTORE_CURE) from error


def find_line_faults(name: str, digests: Iterable[str], lines: LineStream, watch: Watch | None = None) -> list[Fault]:
    """How a file's lines differ from the digests of its seal: changed, removed, added or moved.

    Args:
        name: The file, as faults name it.
        digests: SHA-256 of each line; read again where the file is damaged.
        lines: The file.
        watch: Is told now and then how many lines were compared.
    """
    sealed, first = iter(digests), 0
    for line in lines:
        if sha256(line) != next(sealed, None):
            first = lines.count
            break
        if watch is not None and lines.count % WATCH_EVERY == 0:
            watch(lines.count)
    else:
        first = 0 if next(sealed, None) is None else lines.count + 1
    faults = _compare_lines(name, digests, lines, first) if first else []
    if lines.torn:
        faults.append(Fault(file=name, line=lines.count + 1, what="bytes after the last newline"))
    return faults


def _compare_lines(name: str, digests: Iterable[str], lines: LineStream, first: int) -> list[Fault]:
    """The damage of a file whose line ``first`` is the first one that is not as it was sealed."""
    expected, found = _head_of(digests), _head_of(sha256(line) for line in lines)
    if max(len(expected), len(found)) > MAX_COMPARED:
        return [Fault(file=name, line=first, what="from here on the lines are not those that the seal names")]
    faults = []
    for tag, i, j, k, m in SequenceMatcher(None, expected, found, autojunk=False).get_opcodes():
        if tag == "delete":
            faults.append(Fault(file=name, line=k + 1, what=f"{j - i} record(s) missing from here on"))
        elif tag == "insert":
            faults.append(Fault(file=name, line=k + 1, what=f"{m - k} record(s) that the seal does not name"))
        elif tag == "replace":
            faults.append(Fault(file=name, line=k + 1, what=f"{m - k} line(s) in place of {j - i} record(s)"))
    return faults


def _head_of(digests: Iterable[str]) -> list[str]:
    """As many as are compared, and one more where there are more."""
    return [digest for _, digest in zip(range(MAX_COMPARED + 1), digests, strict=False)]
