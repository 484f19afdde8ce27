"""Sealed steps: what is finished, and how to tell that it is still what it was.

A seal holds a digest for each record. Digests are all of one length, so that a seal of ten million is written and
checked in pieces, and the digest of one record is read from its place.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, overload

from pydantic import BaseModel

from charter.records.record import Record, canonical
from charter.records.step_names import is_inner_name
from charter.runs.store.files import (
    file_digest,
    find_file_fault,
    find_tree_faults,
    is_present,
    sha256,
    sync_to_disk,
    write_atomic,
)
from charter.runs.store.line_stream import LineStream, Watch, find_line_faults
from charter.runs.store.parquet_lines import PARQUET, write_parquet
from charter.runs.store.regular_files import (
    MAX_OBJECT_BYTES,
    Fault,
    FaultError,
    inner_path,
    open_regular,
    translate_os_errors,
)
from charter.runs.store.strict_json import parse_json

_MARK = b'"records":['
_HEX, _ENTRY = 64, 67
"""Characters of a digest; and of one in a seal, with its quotation marks and the comma after it."""
_ENTRIES = re.compile(rb'(?:"[0-9a-f]{64}",)*')
_TOGETHER = 4096
"""Digests that are written or checked together."""


class Seal(Record):
    """What makes a step finished: SHA-256 of all its lines, of the inputs by argument name, of the templates and of the
    files beside it; ``calls`` holds planned calls by purpose and role. On disk it also holds ``records``, SHA-256 of
    each record's line: ``SealedDigests``."""

    step: str
    type: str
    count: int
    file: str
    inputs: dict[str, str]
    templates: dict[str, str]
    calls: dict[str, dict[str, int]]
    files: dict[str, str]

    @property
    def record_type(self) -> str:
        """The type of each record: ``type`` is that of the whole step, such as ``Iterator[Verdict]``."""
        return self.type.removesuffix("]").split("[")[-1]


class SealedDigests(Sequence[str]):
    """SHA-256 (hex) of each record's line, as a step's seal on disk has them. Raises StoreError, DamagedError."""

    def __init__(self, directory: Path, seal: Seal) -> None:
        self._path, self._root, self._count = seal_path(directory, seal.step), directory, seal.count
        self._start = len(_seal_ends(seal)[0])

    def __len__(self) -> int:
        """How many records the step has."""
        return self._count

    def __iter__(self) -> Iterator[str]:
        """In order, read in pieces."""
        with translate_os_errors(self._path, "read"), self._open() as stream:
            for piece in _read_entries(stream, self._count):
                for at in range(1, len(piece), _ENTRY):
                    yield piece[at : at + _HEX].decode(errors="replace")

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        """That of one record, or those of a slice."""
        numbers = range(self._count)[place]
        return self.read_at([numbers])[0] if isinstance(numbers, int) else self.read_at(numbers)

    def read_at(self, numbers: Iterable[int]) -> list[str]:
        """Those of the records with these numbers, from 0, in one reading; empty past the last one."""
        with translate_os_errors(self._path, "read"), self._open() as stream:
            return [self._read(stream, number) if number < self._count else "" for number in numbers]

    def _read(self, stream: BinaryIO, number: int) -> str:
        stream.seek(self._start + number * _ENTRY + 1)
        return stream.read(_HEX).decode(errors="replace")

    def _open(self) -> BinaryIO:
        stream = os.fdopen(open_regular(self._path, self._root), "rb")
        stream.seek(self._start)
        return stream


def lines_path(directory: Path, step: str) -> Path:
    """Where a step at work keeps its records, and where they stay if they are not turned into Parquet. Raises
    DamagedError where the name leads out of the run."""
    return inner_path(directory, f"{step}.jsonl")


def records_path(directory: Path, step: str) -> Path:
    """Where a step's records lie. Raises DamagedError where the name leads out of the run."""
    lines, packed = lines_path(directory, step), f"{step}{PARQUET}"
    return directory / packed if is_present(directory, packed) and not os.path.lexists(lines) else lines


def seal_path(directory: Path, step: str) -> Path:
    """Where a step's seal lies."""
    return directory / f"{step}.seal.json"


def write_records(path: Path, lines: Iterable[bytes]) -> tuple[int, str]:
    """Writes the records of a step in order, whole: their number, and the digest of the file."""
    digest, count = hashlib.sha256(), 0

    def pieces() -> Iterator[bytes]:
        nonlocal count
        for line in lines:
            piece = line + b"\n"
            digest.update(piece)
            count += 1
            yield piece

    write_atomic(path, pieces())
    return count, digest.hexdigest()


def write_seal(directory: Path, seal: Seal) -> str:
    """Seals the records that lie at the step's place; the digest of the seal."""
    digest = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        for piece in _seal_pieces(seal, map(sha256, LineStream(lines_path(directory, seal.step), directory))):
            digest.update(piece)
            yield piece

    write_atomic(seal_path(directory, seal.step), pieces())
    return digest.hexdigest()


def pack_records(directory: Path, step: str, kind: type[BaseModel], above: int) -> str | None:
    """Turns a sealed step's file of lines into Parquet where it has more than ``above`` bytes: the digest of the
    Parquet file, or None where the lines stay. Until the journal says that the step is sealed both may lie there, and
    the lines count. Raises StoreError, DamagedError."""
    lines, packed = lines_path(directory, step), directory / f"{step}{PARQUET}"
    with translate_os_errors(lines, "replaced"):
        if lines.exists():
            if lines.stat().st_size <= above:
                return None
            write_parquet(packed, LineStream(lines, directory), kind)
            lines.unlink()
            sync_to_disk(lines.parent)
    return file_digest(packed, directory)


def seal_digest(directory: Path, seal: Seal) -> str:
    """The digest of a seal that is on disk."""
    digest = hashlib.sha256()
    for piece in _seal_pieces(seal, SealedDigests(directory, seal)):
        digest.update(piece)
    return digest.hexdigest()


def find_step_faults(
    directory: Path, step: str, mark: str | None, packed: str | None = None, watch: Watch | None = None
) -> tuple[Seal | None, list[Fault]]:
    """The seal of a step and every fault of the step. ``mark`` is the digest of the seal that the journal holds (None:
    the run stopped between writing the seal and journaling it), ``packed`` that of the step's Parquet file (None: it
    has none); ``watch`` is told how many records were compared. Raises StoreError."""
    seal, faults = find_record_faults(directory, step, mark, packed, watch)
    return seal, faults + (find_tree_faults(directory, step, seal.files) if seal else [])


def find_record_faults(
    directory: Path, step: str, mark: str | None, packed: str | None = None, watch: Watch | None = None
) -> tuple[Seal | None, list[Fault]]:
    """As ``find_step_faults``, but the files that lie beside the records are not looked at."""
    try:
        seal, faults = read_seal(directory, step, mark)
        if seal is None or faults:
            return None, faults
        path = records_path(directory, step)
        name = path.relative_to(directory).as_posix()
        if not is_present(directory, name):
            return seal, [Fault(file=name, line=None, what="the file is missing")]
        faults = find_line_faults(name, SealedDigests(directory, seal), LineStream(path, directory), watch)
        if packed is not None and not faults:
            fault = find_file_fault(directory, f"{step}{PARQUET}", packed)
            faults = [fault] if fault else []
        return seal, faults
    except FaultError as error:
        return None, [error.fault]


def read_seal(directory: Path, step: str, mark: str | None) -> tuple[Seal | None, list[Fault]]:
    """A step's seal and its faults; ``mark`` as for ``find_step_faults``. Raises StoreError, DamagedError."""
    name = f"{step}.seal.json"
    path = inner_path(directory, name)
    if not is_present(directory, name):
        return None, [Fault(file=name, line=None, what="the file is missing")]
    with translate_os_errors(path, "read"), os.fdopen(open_regular(path, directory), "rb") as stream:
        found = _read_ends(stream)
        digest = _digest_seal(stream, found) if found is not None else ""
        is_listed = found is not None and (digest == mark or _lists_digests(stream, found))
    if found is None or not is_listed:
        return None, [Fault(file=name, line=1, what="not a seal")]
    faults, seal = [], found.seal
    if (mark is not None and digest != mark) or _seal_ends(seal) != (found.head, found.tail) or seal.step != step:
        faults.append(Fault(file=name, line=1, what="not the seal that the journal names"))
    for file in seal.files:
        if not is_inner_name(file):
            return None, [Fault(file=name, line=1, what=f"{file!a} is a name that leads out of the run")]
    return seal, faults


class _SealEnds(NamedTuple):
    """A seal's text before and after the digests of its records, and what it says."""

    head: bytes
    tail: bytes
    seal: Seal


def _seal_ends(seal: Seal) -> tuple[bytes, bytes]:
    """A seal's one spelling, less the digests of its records."""
    fields = seal.model_dump(mode="json")
    before = canonical({key: value for key, value in fields.items() if key < "records"})
    after = canonical({key: value for key, value in fields.items() if key > "records"})
    return before[:-1].encode() + b"," + _MARK, b"]," + after[1:].encode() + b"\n"


def _seal_pieces(seal: Seal, digests: Iterable[str]) -> Iterator[bytes]:
    head, tail = _seal_ends(seal)
    yield head
    comma, left = b"", iter(digests)
    while together := list(islice(left, _TOGETHER)):
        yield comma + ",".join(f'"{digest}"' for digest in together).encode()
        comma = b","
    yield tail


def _read_ends(stream: BinaryIO) -> _SealEnds | None:
    """Both ends of a seal, which say how long its middle is; None where it is no seal."""
    head = b""
    while _MARK not in head and len(head) < MAX_OBJECT_BYTES and (more := stream.read(1 << 20)):
        head += more
    start = head.find(_MARK) + len(_MARK)
    if start < len(_MARK):
        return None
    try:
        before = parse_json(head[:start] + b"]}")
        stream.seek(start + max(before["count"] * _ENTRY - 1, 0))
        tail = stream.read(1 << 20)
        after = parse_json(b"{" + _MARK + tail)
        fields = {key: value for key, value in {**before, **after}.items() if key != "records"}
        return _SealEnds(head[:start], tail, Seal.model_validate(fields))
    except (ValueError, KeyError, TypeError, OverflowError, OSError):
        return None


def _digest_seal(stream: BinaryIO, ends: _SealEnds) -> str:
    """The digest of the whole seal."""
    digest = hashlib.sha256(ends.head)
    stream.seek(len(ends.head))
    for piece in _read_entries(stream, ends.seal.count):
        digest.update(piece)
    digest.update(ends.tail)
    return digest.hexdigest()


def _lists_digests(stream: BinaryIO, ends: _SealEnds) -> bool:
    """Whether the middle of a seal is what it has to be. Of the seal that the journal names, that goes without saying:
    it was written in one way."""
    stream.seek(len(ends.head))
    pieces = _read_entries(stream, ends.seal.count)
    return all(_ENTRIES.fullmatch(piece if piece.endswith(b",") else piece + b",") for piece in pieces)


def _read_entries(stream: BinaryIO, count: int) -> Iterator[bytes]:
    """The digests of a seal with their quotation marks and commas, some at once; the last one has no comma."""
    left = max(count * _ENTRY - 1, 0)
    while left > 0 and (piece := stream.read(min(left, _TOGETHER * _ENTRY))):
        left -= len(piece)
        yield piece
