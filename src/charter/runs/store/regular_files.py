"""Files of a run opened without trust: no link is followed, nothing but a regular file is opened, sizes are bounded.

A run may come from somebody else. So each folder on the way to a file is opened by itself, and the file's kind is known
before the file is opened and checked again on the open handle.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from charter.errors import DamagedError, StoreError
from charter.records.record import Record
from charter.records.step_names import is_inner_name

RESTORE_CURE = "Restore the file from a copy, or go on from an earlier step in a new run: charter fork"
MAX_OBJECT_BYTES = 256 << 20
"""The most that is read of a file that holds one object, such as a seal or an outcome."""

_DISK_FULL_CURE = "Free some space, then: charter resume. Everything written before is kept."
_READ_ONLY_CURE = "Make the folder writable, or choose another one."
_CURES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _DISK_FULL_CURE),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR), _READ_ONLY_CURE),
}
_KINDS = (
    (stat.S_ISLNK, "a symbolic link, and none is followed"),
    (stat.S_ISDIR, "a folder in place of a file"),
    (stat.S_ISFIFO, "a FIFO in place of a file"),
    (stat.S_ISSOCK, "a socket in place of a file"),
)
_OPEN_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Fault(Record):
    """Damage in a file of the run; ``line`` is None where the file as a whole is meant."""

    file: str
    line: int | None
    what: str

    def __str__(self) -> str:
        return f"{self.file}{'' if self.line is None else f', line {self.line}'}: {self.what}"


class FaultError(DamagedError):
    """A fault that keeps a file from being read. ``charter verify`` lists ``fault``, everything else stops."""

    def __init__(self, root: Path, fault: Fault) -> None:
        super().__init__(str(fault.model_copy(update={"file": str(root / fault.file)})), RESTORE_CURE)
        self.fault = fault


@contextmanager
def translate_os_errors(path: Path, doing: str) -> Iterator[None]:
    """Turns the system's errors into StoreError with a cure."""
    try:
        yield
    except OSError as error:
        cure = _CURES.get(error.errno or 0, "Check the path and the disk, then: charter resume")
        raise StoreError(f"{path} cannot be {doing}: {error.strerror or error}", cure) from error


def inner_path(root: Path, name: str) -> Path:
    """The place of ``name`` under ``root``. Raises DamagedError where the name leads out of it."""
    if not is_inner_name(name):
        raise FaultError(root, Fault(file=ascii(name), line=None, what="a name that leads out of the run"))
    return root / name


def open_regular(path: Path, root: Path | None = None, *, write: bool = False) -> int:
    """A handle of the regular file ``path``; the caller closes it.

    Args:
        path: The file.
        root: The run's folder, which ``path`` must lie in; no folder below it may be a link. None: the file's folder.
        write: For reading and writing; the file is made where it is missing.

    Raises:
        DamagedError: The file or a folder on the way is a link or something special, or lies outside ``root``.
        OSError: The system refuses; FileNotFoundError where there is no such file.
    """
    root = path.parent if root is None else root
    inner = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    inner_path(root, inner)
    *folders, name = inner.split("/")
    holder = _open_folder(root, folders)
    try:
        try:
            _require_kind(os.lstat(name, dir_fd=holder).st_mode, root, inner)
        except FileNotFoundError:
            if not write:
                raise
        handle = os.open(name, (os.O_RDWR | os.O_CREAT if write else os.O_RDONLY) | _OPEN_FLAGS, 0o644, dir_fd=holder)
    finally:
        os.close(holder)
    try:
        _require_kind(os.fstat(handle).st_mode, root, inner)
    except BaseException:
        os.close(handle)
        raise
    return handle


def check_folder(root: Path, name: str) -> bool:
    """Whether there is a folder ``name`` under ``root``. Raises StoreError, and DamagedError where it, or a folder on
    the way, is a link or something else."""
    inner_path(root, name)
    with translate_os_errors(root / name, "read"):
        try:
            os.close(_open_folder(root, name.split("/")))
        except FileNotFoundError:
            return False
    return True


def read_bounded(path: Path, root: Path | None, limit: int) -> bytes:
    """A regular file's bytes. Raises as ``open_regular`` does, and DamagedError where it holds more than ``limit``."""
    with os.fdopen(open_regular(path, root), "rb") as stream:
        if os.fstat(stream.fileno()).st_size <= limit:
            data = stream.read(limit + 1)
            if len(data) <= limit:
                return data
    root = path.parent if root is None else root
    what = f"holds more than {limit >> 20} MiB"
    raise FaultError(root, Fault(file=path.relative_to(root).as_posix(), line=None, what=what))


def find_special_files(directory: Path, skipped: Collection[str] = ()) -> list[Fault]:
    """Every link and every other entry under a folder that is neither file nor folder; what lies in ``skipped``
    folders is left out. Raises StoreError."""
    faults = []
    for name, mode in _walk(directory, skipped):
        if not stat.S_ISREG(mode):
            faults.append(Fault(file=name, line=None, what=_describe_kind(mode)))
    return faults


def list_files(directory: Path, skipped: Collection[str] = ()) -> dict[str, Path]:
    """Every file, link and special file under a folder by its relative POSIX path, in order; a missing folder holds
    none. No link is followed. What lies in ``skipped`` folders is left out. Raises StoreError."""
    return {name: directory / name for name, _ in _walk(directory, skipped)}


def _open_folder(root: Path, folders: Sequence[str]) -> int:
    """A handle of a folder under ``root``, each folder on the way opened by itself."""
    holder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for depth, folder in enumerate(folders, 1):
            _require_kind(os.lstat(folder, dir_fd=holder).st_mode, root, "/".join(folders[:depth]), folder=True)
            outer, holder = holder, os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _OPEN_FLAGS, dir_fd=holder)
            os.close(outer)
    except BaseException:
        os.close(holder)
        raise
    return holder


def _walk(directory: Path, skipped: Collection[str]) -> list[tuple[str, int]]:
    """Name and mode of everything under a folder but folders. A file that goes meanwhile is left out."""
    found, waiting = [], [""]
    with translate_os_errors(directory, "read"):
        while waiting:
            folder = waiting.pop()
            try:
                entries = list(os.scandir(directory / folder))
            except FileNotFoundError:
                continue
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                try:
                    mode = entry.stat(follow_symlinks=False).st_mode
                except FileNotFoundError:
                    continue
                if not stat.S_ISDIR(mode):
                    found.append((name, mode))
                elif name not in skipped:
                    waiting.append(name)
    return sorted(found)


def _require_kind(mode: int, root: Path, name: str, folder: bool = False) -> None:
    if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
        what = "a file in place of a folder" if folder and stat.S_ISREG(mode) else _describe_kind(mode)
        raise FaultError(root, Fault(file=name, line=None, what=what))


def _describe_kind(mode: int) -> str:
    return next((what for holds, what in _KINDS if holds(mode)), "a device in place of a file")
