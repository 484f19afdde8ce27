"""Whole files and lines: written so that a kill at any moment cannot spoil them, read so that damage is named."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from charter.runs.store.regular_files import (
    MAX_OBJECT_BYTES,
    Fault,
    FaultError,
    check_folder,
    inner_path,
    list_files,
    open_regular,
    read_bounded,
    translate_os_errors,
)

_PIECE = 1 << 20


def raise_first_fault(directory: Path, faults: Sequence[Fault]) -> None:
    """Raises DamagedError for the first fault, if there is one."""
    if faults:
        raise FaultError(directory, faults[0])


def sync_to_disk(path: Path) -> None:
    """Forces a file's bytes, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def temporary_name(name: str) -> str:
    """Where ``write_atomic`` writes a file before it stands at its place."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}.{file}.tmp"


def write_atomic(path: Path, data: bytes | Path | Iterator[bytes] | Callable[[BinaryIO], object]) -> None:
    """Replaces ``path`` by ``data``, by its pieces, by a copy of the file ``data``, or by what the function ``data``
    writes: a kill leaves the old file or the new one."""
    temporary = path.with_name(temporary_name(path.name))
    with translate_os_errors(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        try:
            with temporary.open("xb") as stream:
                if isinstance(data, Path):
                    with os.fdopen(open_regular(data), "rb") as source:
                        shutil.copyfileobj(source, stream, _PIECE)
                elif callable(data):
                    data(stream)
                else:
                    stream.writelines([data] if isinstance(data, bytes) else data)
            sync_to_disk(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_to_disk(path.parent)


def read_bytes(path: Path, root: Path | None = None) -> bytes:
    """The bytes of a file that holds one object; ``root``: the run's folder. Raises StoreError, DamagedError."""
    with translate_os_errors(path, "read"):
        return read_bounded(path, root, MAX_OBJECT_BYTES)


def sha256(data: bytes) -> str:
    """SHA-256 (hex) of bytes."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path, root: Path | None = None) -> str:
    """SHA-256 (hex) of a file's bytes, read in pieces; ``root``: the run's folder. Raises StoreError, DamagedError."""
    with translate_os_errors(path, "read"), os.fdopen(open_regular(path, root), "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def find_file_fault(directory: Path, name: str, digest: str, short: bool = False) -> Fault | None:
    """How a file of the run differs from the digest kept for it. ``short``: the file holds one object, so that it is
    not read where it is too long for one. Raises StoreError."""
    found = None
    try:
        if is_present(directory, name):
            path = inner_path(directory, name)
            found = sha256(read_bytes(path, directory)) if short else file_digest(path, directory)
    except FaultError as error:
        return error.fault
    if found == digest:
        return None
    return Fault(file=name, line=None, what="the file is missing" if found is None else "the file was changed")


def is_present(directory: Path, name: str) -> bool:
    """Whether anything stands under this name: a link counts, wherever it leads."""
    return os.path.lexists(directory / name)


def find_tree_faults(directory: Path, folder: str, expected: Mapping[str, str]) -> list[Fault]:
    """How the files under ``folder`` differ from the digests kept for them. Raises StoreError."""
    try:
        found = set(list_files(directory / folder)) if check_folder(directory, folder) else set()
    except FaultError as error:
        return [error.fault]
    faults = [find_file_fault(directory, f"{folder}/{name}", digest) for name, digest in sorted(expected.items())]
    foreign = [
        Fault(file=f"{folder}/{name}", line=None, what="a file that the seal does not name")
        for name in sorted(found - expected.keys())
    ]
    return [fault for fault in faults if fault is not None] + foreign


def open_for_append(path: Path, root: Path | None = None) -> int:
    """A handle to append with ``write_line``; the caller closes it. ``root``: the run's folder. Raises StoreError,
    DamagedError."""
    with translate_os_errors(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        return open_regular(path, root, write=True)


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
