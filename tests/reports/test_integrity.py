"""Whatever is changed in a finished run is found; a run rewritten whole is found by its hash."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from charter.errors import DamagedError, StoreError
from charter.records.record import canonical, digest
from charter.reports.integrity import verify_run
from charter.runs import Run, store
from tests.fakes.scripted_run import begin, breaking, play


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("verify") / "run"
    with begin(directory) as run:
        play(run)
        run.record_human_decision("approve", principle="p001")
    return directory


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def files(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.rglob("*")) if path.is_file() and path.name != store.LOCK]


def named(directory: Path) -> set[str]:
    return {fault.file for fault in verify_run(directory).faults}


def test_a_whole_run_is_consistent_and_anchored_by_its_hash(whole: Path) -> None:
    result = verify_run(whole)
    assert (result.ok, result.anchored, result.finished) == (True, False, True)
    assert result.wording == "consistent, not anchored"
    assert result.head is not None
    for known in (result.head, result.tip):
        assert verify_run(whole, known).anchored
        assert verify_run(whole, known).ok
    other = verify_run(whole, "0" * 64)
    assert not other.ok
    assert not other.anchored


@pytest.mark.slow
def test_every_flipped_bit_of_every_file_is_found_in_that_file(copy: Path) -> None:
    for path in files(copy):
        data = path.read_bytes()
        name = path.relative_to(copy).as_posix()
        step = max(1, len(data) // 12)
        for number, place in enumerate([*range(0, len(data), step), len(data) - 1]):
            flipped = bytearray(data)
            flipped[place] ^= 1 << number % 8
            path.write_bytes(flipped)
            assert name in named(copy), (name, place)
        path.write_bytes(data)
    assert verify_run(copy).ok


def test_every_removed_moved_added_and_repeated_line_is_found(copy: Path) -> None:
    for path in copy.rglob("*.jsonl"):
        data = path.read_bytes()
        lines = data.splitlines(keepends=True)
        name = path.relative_to(copy).as_posix()
        for n in range(len(lines)):
            last = (
                path.name == store.JOURNAL and n == len(lines) - 1
            )  # a decision after the end: only the tip covers it
            for edited in ([*lines[:n], *lines[n + 1 :]], [*lines[: n + 1], *lines[n:]]):
                path.write_bytes(b"".join(edited))
                if not last:
                    faults = [fault for fault in verify_run(copy).faults if fault.file == name]
                    assert faults[0].line in (n + 1, n + 2), (name, n, faults)
        path.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]) if len(lines) > 1 else data * 2)
        assert name in named(copy)
        path.write_bytes(data)
    assert verify_run(copy).ok


def test_every_removed_file_is_found(copy: Path) -> None:
    for path in files(copy):
        if path.name == store.JOURNAL:
            continue
        data = path.read_bytes()
        path.unlink()
        assert path.relative_to(copy).as_posix() in named(copy)
        path.write_bytes(data)
    (copy / store.JOURNAL).unlink()
    assert not verify_run(copy).ok


@pytest.mark.parametrize("name", ["001/policy/more.bin", "001/more.jsonl", "adapter/more.safetensors", "9.seal.json"])
def test_an_added_file_is_found(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"{}\n")
    assert named(copy) == {name}


def test_a_run_rewritten_whole_is_found_by_its_hash(whole: Path, tmp_path: Path) -> None:
    with Run.create(tmp_path / "forged", spec_text="name: small\n", seed=8) as run:
        play(run)
    assert verify_run(tmp_path / "forged").ok
    assert not verify_run(tmp_path / "forged", verify_run(whole).head).ok


def rewritten(directory: Path, edit: Callable[[list[store.Event]], list[store.Event]]) -> None:
    """A forger's work: the journal edited, its chain and HEAD made to fit."""
    path = directory / store.JOURNAL
    previous, lines = "", []
    for n, event in enumerate(edit([json.loads(line) for line in path.read_text().splitlines()]), 1):
        body = {**{k: v for k, v in event.items() if k != "hash"}, "n": n, "previous": previous}
        previous = digest(body)
        lines.append({**body, "hash": previous})
    path.write_text("".join(f"{canonical(line)}\n" for line in lines))
    head = store.expected_head(lines)
    assert head is not None
    (directory / store.HEAD).write_bytes(store.head_bytes(head))


def test_a_forged_journal_is_found_where_it_contradicts_itself_and_by_the_hash(copy: Path) -> None:
    known = verify_run(copy).head
    rewritten(copy, lambda events: [e for e in events if e["event"] != "answered"])
    assert verify_run(copy).ok
    assert [str(fault) for fault in verify_run(copy, known).faults] == [
        f"HEAD, line 1: not the run with the hash {known}"
    ]
    rewritten(copy, lambda events: [e for e in events if e.get("step") != "001/rows" or e["event"] != "sealed"])
    assert {"001/rows.jsonl", "001/rows.seal.json", store.JOURNAL} <= named(copy)


def test_work_after_the_end_is_a_fault(copy: Path) -> None:
    journal = store.Journal(copy)
    journal.append("sealed", step="000/rows", seal="0")
    journal.close()
    assert any("after the end" in fault.what for fault in verify_run(copy).faults)


def test_an_unfinished_run_is_consistent_so_far_and_a_torn_line_is_a_note(tmp_path: Path) -> None:
    with begin(tmp_path / "run") as run, pytest.raises(RuntimeError):
        play(run, breaking(3))
    result = verify_run(tmp_path / "run")
    assert (result.ok, result.finished, result.wording) == (True, False, "consistent so far, not finished")
    with (tmp_path / "run/000/answers.jsonl").open("ab") as stream:
        stream.write(b'{"id":')
    assert verify_run(tmp_path / "run").notes == (
        "000/answers.jsonl, line 4: bytes after the last newline (dropped when the run goes on)",
    )
    with begin(tmp_path / "run") as run:
        play(run)
    assert verify_run(tmp_path / "run").ok


def test_damage_stops_a_run_that_goes_on(copy: Path) -> None:
    path = copy / "001/rows.jsonl"
    path.write_bytes(path.read_bytes().replace(b"reply", b"repli", 1))
    with begin(copy) as run, pytest.raises(DamagedError, match=r"001/rows\.jsonl, line 1"):
        play(run)
    (copy / "000/policy/deep/weights.bin").unlink()
    with begin(copy) as run, pytest.raises(DamagedError, match=r"000/policy/deep/weights\.bin: the file is missing"):
        play(run)


def test_where_there_is_no_run_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no run"):
        verify_run(tmp_path)
