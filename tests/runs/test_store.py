"""Lines, atomic files, the journal's chain and the lock."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charter.errors import DamagedError, LockedError, StoreError
from charter.records.record import canonical
from charter.runs import store
from tests.fakes.scripted_run import Word

words = st.lists(st.builds(Word, id=st.text(max_size=5), text=st.text(max_size=20)), max_size=6)
anywhere = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, records: list[Word]) -> list[int]:
    """Appends records; the size of the file after each."""
    handle, size, sizes = store.open_for_append(path), 0, [0]
    for record in records:
        size = store.write_line(handle, path, size, canonical(record).encode())
        sizes.append(size)
    os.close(handle)
    return sizes


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes: what a full disk looks like from here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@anywhere
@given(records=words)
def test_lines_come_back_as_they_were(tmp_path: Path, records: list[Word]) -> None:
    path = tmp_path / "a.jsonl"
    path.unlink(missing_ok=True)
    write(path, records)
    reading = store.read_lines(path)
    assert store.parse_records(path, reading.lines, Word) == records
    assert reading.torn == b""
    assert reading.size == path.stat().st_size


@anywhere
@given(records=words, cut=st.integers(min_value=0))
def test_a_file_cut_anywhere_keeps_its_whole_lines(tmp_path: Path, records: list[Word], cut: int) -> None:
    path = tmp_path / "a.jsonl"
    path.unlink(missing_ok=True)
    sizes = write(path, records)
    cut %= sizes[-1] + 1
    os.truncate(path, cut)
    reading = store.read_lines(path)
    whole = sum(size <= cut for size in sizes) - 1
    assert store.parse_records(path, reading.lines, Word) == records[:whole]
    assert reading.size == sizes[whole]
    assert bool(reading.torn) == (cut != sizes[whole])
    handle = store.open_for_append(path)
    store.write_line(handle, path, reading.size, b"next")
    os.close(handle)
    assert path.read_bytes().endswith(b"next\n")
    assert path.stat().st_size == sizes[whole] + 5


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, [Word(id=str(n), text="t") for n in range(3)])
    path.write_bytes(path.read_bytes().replace(b'"id":"1"', b'"id";"1"'))
    with pytest.raises(DamagedError, match=r"a\.jsonl, line 2"):
        store.parse_records(path, store.read_lines(path).lines, Word)


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (lambda lines: lines[:1] + lines[2:], 2),
        (lambda lines: [*lines, lines[0]], 5),
        (lambda lines: [lines[1], lines[0], *lines[2:]], 1),
        (lambda lines: [*lines[:2], lines[2].upper(), lines[3]], 3),
        (lambda lines: lines[:0], 1),
    ],
)
def test_line_faults_say_where(tmp_path: Path, edit: object, line: int) -> None:
    def find_faults(lines: list[bytes], torn: bytes = b"") -> list[store.Fault]:
        (tmp_path / "a").write_bytes(b"".join(one + b"\n" for one in lines) + torn)
        return store.find_line_faults("a", digests, store.LineStream(tmp_path / "a"))

    lines = [f'{{"id":"{n}"}}'.encode() for n in range(4)]
    digests = [store.sha256(item) for item in lines]
    assert find_faults(lines) == []
    assert callable(edit)
    assert find_faults(edit(lines))[0].line == line
    assert find_faults(lines, b"x")[0].line == 5


def test_a_full_disk_leaves_the_old_file_and_the_whole_lines(tmp_path: Path) -> None:
    whole, lined = tmp_path / "whole", tmp_path / "lined"
    store.write_atomic(whole, b"old")
    handle = store.open_for_append(lined)
    size = store.write_line(handle, lined, 0, b"first")
    with largest_file(1000):
        with pytest.raises(StoreError, match="Free some space"):
            store.write_atomic(whole, b"x" * 2000)
        with pytest.raises(StoreError, match="Free some space"):
            store.write_line(handle, lined, size, b"y" * 2000)
    assert whole.read_bytes() == b"old"
    assert lined.read_bytes() == b"first\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lined", "whole"]
    store.write_line(handle, lined, size, b"second")
    os.close(handle)
    assert lined.read_bytes() == b"first\nsecond\n"


@pytest.mark.parametrize(
    ("number", "cure"),
    [(errno.ENOSPC, "Free some space"), (errno.EROFS, "Make the folder writable"), (errno.EIO, "disk")],
)
def test_every_system_error_has_a_cure(number: int, cure: str) -> None:
    with pytest.raises(StoreError, match=cure), store.translate_os_errors(Path("somewhere"), "written"):
        raise OSError(number, os.strerror(number))


def test_the_journal_is_chained_and_drops_only_a_torn_last_line(tmp_path: Path) -> None:
    journal = store.Journal(tmp_path)
    for n in range(3):
        journal.append("human", decision="approve", fields={"n": (n,)})
    journal.close()
    path = tmp_path / store.JOURNAL
    data = path.read_bytes()
    path.write_bytes(data + b'{"event":"hum')
    again = store.Journal(tmp_path)
    assert [event["n"] for event in again.events] == [1, 2, 3]
    again.append("human", decision="reject", fields={})
    again.close()
    assert path.read_bytes().startswith(data)
    events, faults = store.read_journal(store.LineStream(path))
    assert faults == []
    assert events[-1]["previous"] == events[-2]["hash"]


@pytest.mark.parametrize("line", [1, 2, 3])
def test_a_changed_or_removed_journal_line_is_named(tmp_path: Path, line: int) -> None:
    journal = store.Journal(tmp_path)
    for n in range(4):
        journal.append("human", decision="approve", fields={"n": n})
    journal.close()
    path = tmp_path / store.JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    changed = json.loads(lines[line - 1])
    changed["decision"] = "reject"
    forged = canonical(changed).encode() + b"\n"
    for edited in (
        [*lines[: line - 1], forged, *lines[line:]],
        [*lines[: line - 1], lines[line - 1].replace(b",", b", ", 1), *lines[line:]],
        [*lines[: line - 1], *lines[line:]],
    ):
        path.write_bytes(b"".join(edited))
        with pytest.raises(DamagedError, match=rf"journal\.jsonl, line {line}"):
            store.Journal(tmp_path)
        assert len(store.read_journal(store.LineStream(path))[1]) == 1


def test_the_lock_names_its_owner_and_is_given_back(tmp_path: Path) -> None:
    lock = store.Lock(tmp_path)
    with pytest.raises(LockedError, match=f"process {os.getpid()} on "):
        store.Lock(tmp_path)
    lock.release()
    store.Lock(tmp_path).release()
