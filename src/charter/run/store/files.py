"""Whole files and lines: written so that a kill at any moment cannot spoil them, read so that damage is named."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from charter.errors import DamagedError, StoreError
from charter.records.record import Record

R = TypeVar("R", bound=BaseModel)

RESTORE_CURE = "Restore the file from a copy, or go on from an earlier step in a new run: charter fork"
_DISK_FULL_CURE = "Free some space, then: charter resume. Everything written before is kept."
_READ_ONLY_CURE = "Make the folder writable, or choose another one."
_CURES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _DISK_FULL_CURE),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR), _READ_ONLY_CURE),
}


class Fault(Record):
    """Damage in a file of the run; ``line`` is None where the file as a whole is meant."""

    file: str
    line: int | None
    what: str

    def __str__(self) -> str:
        return f"{self.file}{'' if self.line is None else f', line {self.line}'}: {self.what}"


class FileLines(NamedTuple):
    """The whole lines of a file, their size in bytes with newlines, and what follows the last newline."""

    lines: list[bytes]
    size: int
    torn: bytes


def raise_first_fault(directory: Path, faults: Sequence[Fault]) -> None:
    """Raises DamagedError for the first fault, if there is one."""
    if faults:
        raise DamagedError(str(faults[0].model_copy(update={"file": str(directory / faults[0].file)})), RESTORE_CURE)


@contextmanager
def translate_os_errors(path: Path, doing: str) -> Iterator[None]:
    """Turns the system's errors into StoreError with a cure."""
    try:
        yield
    except OSError as error:
        cure = _CURES.get(error.errno or 0, "Check the path and the disk, then: charter resume")
        raise StoreError(f"{path} cannot be {doing}: {error.strerror}", cure) from error


def sync_to_disk(path: Path) -> None:
    """Forces a file's bytes, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes | Path) -> None:
    """Replaces ``path`` by ``data``, or by a copy of the file ``data``: a kill leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with translate_os_errors(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if isinstance(data, Path):
                shutil.copyfile(data, temporary)
            else:
                temporary.write_bytes(data)
            sync_to_disk(temporary)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_to_disk(path.parent)


def read_bytes(path: Path) -> bytes:
    """A file's bytes. Raises StoreError."""
    with translate_os_errors(path, "read"):
        return path.read_bytes()


def sha256(data: bytes) -> str:
    """SHA-256 (hex) of bytes."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, read in pieces. Raises StoreError."""
    with translate_os_errors(path, "read"), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def list_files(directory: Path) -> dict[str, Path]:
    """Every file under a folder by its relative POSIX path, in order; a missing folder holds none."""
    with translate_os_errors(directory, "read"):
        return {p.relative_to(directory).as_posix(): p for p in sorted(directory.rglob("*")) if not p.is_dir()}


def find_tree_faults(directory: Path, folder: str, expected: Mapping[str, str]) -> list[Fault]:
    """How the files under ``folder`` differ from the digests kept for them."""
    found, faults = list_files(directory / folder), []
    for name in sorted({*found, *expected}):
        if name not in found:
            what = "the file is missing"
        elif name not in expected:
            what = "a file that the seal does not name"
        elif file_digest(found[name]) != expected[name]:
            what = "the file was changed"
        else:
            continue
        faults.append(Fault(file=f"{folder}/{name}", line=None, what=what))
    return faults


def read_lines(path: Path) -> FileLines:
    """The lines of a file; a missing file has none."""
    data = read_bytes(path) if path.exists() else b""
    *lines, torn = data.split(b"\n")
    return FileLines(lines, len(data) - len(torn), torn)


def open_for_append(path: Path) -> int:
    """A handle to append with ``write_line``; the caller closes it. Raises StoreError."""
    with translate_os_errors(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)


def write_line(handle: int, path: Path, size: int, line: bytes) -> int:
    """Writes a line at ``size``, the end of the last whole line: whatever stands after it is cut off. Returns the new
    size. On an error or an interrupt the file ends at ``size`` again. Raises StoreError."""
    data, at = memoryview(line + b"\n"), size
    with translate_os_errors(path, "written"):
        if os.fstat(handle).st_size != size:
            os.ftruncate(handle, size)
        try:
            while data:
                written = os.pwrite(handle, data, at)
                data, at = data[written:], at + written
        except BaseException:
            with suppress(OSError):
                os.ftruncate(handle, size)
            raise
    return at


def parse_records(path: Path, lines: Sequence[bytes], kind: type[R]) -> list[R]:
    """Reads a record from each line. Raises DamagedError naming file and line."""
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(kind.model_validate_json(line))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "record"
            raise DamagedError(f"{path}, line {number}: {where}: {first['msg']}", RESTORE_CURE) from error
    return records


def find_line_faults(name: str, digests: Sequence[str], reading: FileLines) -> list[Fault]:
    """How a file's lines differ from the digests of its seal: changed, removed, added or moved."""
    found = [sha256(line) for line in reading.lines]
    faults = []
    if found != list(digests):
        for tag, i, j, k, m in SequenceMatcher(None, digests, found, autojunk=False).get_opcodes():
            if tag == "delete":
                faults.append(Fault(file=name, line=k + 1, what=f"{j - i} record(s) missing from here on"))
            elif tag == "insert":
                faults.append(Fault(file=name, line=k + 1, what=f"{m - k} record(s) that the seal does not name"))
            elif tag == "replace":
                faults.append(Fault(file=name, line=k + 1, what=f"{m - k} line(s) in place of {j - i} record(s)"))
    if reading.torn:
        faults.append(Fault(file=name, line=len(found) + 1, what="bytes after the last newline"))
    return faults
