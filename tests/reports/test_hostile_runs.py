"""Broken and hostile run directories: every mutation gets an answer that names it; none a traceback, none a wait."""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from charter import jobs
from charter.cli import main
from charter.errors import CharterError, DamagedError, StoreError
from charter.reports.chain import chain_runs, is_complete
from charter.reports.integrity import verify_run
from charter.runs import Run, store
from charter.runs.reader import RunReader
from charter.wiring.targets import SERVER_DIR, TUNING_DIR
from tests.fakes.damaged_runs import (
    DEEP,
    OTHER_TYPES,
    Mutation,
    forge_journal,
    list_journal_fields,
    list_mutations,
    reseal,
)
from tests.fakes.recorded_run import tell
from tests.fakes.scripted_run import Answer, begin, play

pytestmark = pytest.mark.slow

SECONDS = 30
"""Far more than any answer needs, on a busy machine too."""


@contextmanager
def limited(seconds: int = SECONDS) -> Iterator[None]:
    """Ends what waits: a reader must not hang."""

    def ring(number: int, frame: FrameType | None) -> None:
        del number, frame
        faulthandler.dump_traceback()
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run of every kind of step, with a human decision."""
    directory = tmp_path_factory.mktemp("small") / "run"
    with begin(directory) as run:
        play(run)
        run.record_human_decision("approve", principle="p001")
    return directory


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that every report can show."""
    return tell(tmp_path_factory.mktemp("told") / "run")


def changed(run: Path, place: Path, mutation: Mutation) -> Path:
    """A copy with the mutation."""
    shutil.rmtree(place, ignore_errors=True)
    copy = Path(shutil.copytree(run, place / "run"))
    mutation.apply(copy)
    return copy


def answer(call: Callable[[], object]) -> str:
    """What a call that may refuse says; empty where it does its work. Anything but a CharterError passes through."""
    try:
        with limited():
            call()
    except CharterError as error:
        return str(error)
    return ""


def resume(directory: Path) -> None:
    with begin(directory) as run:
        play(run)


def fork(directory: Path) -> None:
    with Run.open(directory) as run:
        run.fork(directory.with_name("fork"))


def test_every_mutation_is_named_by_verify_and_stops_no_reader(whole: Path, tmp_path: Path) -> None:
    mutations = list(list_mutations(whole))
    assert len(mutations) >= 150
    assert len({mutation.name for mutation in mutations}) == len(mutations)
    missed = []
    for number, mutation in enumerate(mutations):
        copy = changed(whole, tmp_path / "copy", mutation)
        with limited():
            strict = verify_or_error(copy, strict=True)
            loose = verify_or_error(copy) if mutation.foreign else strict
        if bool(strict) == bool(mutation.harmless) or (mutation.foreign and loose):
            missed.append((mutation.name, strict, loose))
        readers: tuple[Callable[[Path], object], ...] = (resume, fork, resume, RunReader)
        read = readers[number % 4]
        answer(partial(read, copy))
    assert missed == []


def test_every_mutation_of_a_parquet_file_is_named(tmp_path: Path) -> None:
    with begin(tmp_path / "packed", parquet_above_mb=0) as run:
        play(run)
    mutations = [m for m in list_mutations(tmp_path / "packed") if m.name.startswith("000/rows.parquet")]
    assert len(mutations) > 15
    for mutation in mutations:
        copy = changed(tmp_path / "packed", tmp_path / "copy", mutation)
        with limited():
            assert bool(verify_or_error(copy, strict=True)) != bool(mutation.harmless), mutation.name
        for read in (read_rows, resume, fork):
            answer(partial(read, copy))


def read_rows(directory: Path) -> None:
    list(RunReader(directory).records("000/rows", Answer))


def verify_or_error(directory: Path, strict: bool = False) -> list[str]:
    """The faults; the error where nothing can be verified, such as a missing run."""
    try:
        return [str(fault) for fault in verify_run(directory, strict=strict).faults]
    except StoreError as error:
        return [str(error)]


@pytest.mark.parametrize("name", ["journal.jsonl", "HEAD", "spec.yaml", "environment.json", "000/rows.jsonl"])
@pytest.mark.parametrize("kind", ["a link to its own copy", "a FIFO", "a folder", "a link to a device"])
def test_links_and_special_files_are_refused_by_name(whole: Path, tmp_path: Path, name: str, kind: str) -> None:
    wanted = next(m for m in list_mutations(whole) if m.name == f"{name}: {kind}")
    copy = changed(whole, tmp_path / "copy", wanted)
    assert any(fault.startswith(name) for fault in verify_or_error(copy))
    for read in (resume, fork) if kind == "a folder" else (resume, fork, RunReader):
        assert name in answer(partial(read, copy)), read


@pytest.mark.parametrize("name", ["001", "001/policy", "adapter"])
def test_a_link_in_place_of_a_folder_is_refused_by_name(whole: Path, tmp_path: Path, name: str) -> None:
    wanted = next(m for m in list_mutations(whole) if m.name == f"{name}: a link to its own copy")
    copy = changed(whole, tmp_path / "copy", wanted)
    assert f"{name}: a symbolic link, and none is followed" in verify_or_error(copy)
    for read in (resume, fork, RunReader):
        assert f"{copy / name}: a symbolic link" in answer(partial(read, copy))


def test_a_link_in_an_unfinished_run_is_never_written_through(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    with begin(tmp_path / "run"):
        pass
    (tmp_path / "run/000").symlink_to(tmp_path / "outside")
    assert "000: a symbolic link" in answer(lambda: resume(tmp_path / "run"))
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_deep_journal_line_is_damage_with_file_and_line(whole: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(whole, tmp_path / "run"))
    path = copy / store.JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    for deep in (b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP, b"[" * DEEP):
        path.write_bytes(b"".join([*lines[:2], deep + b"\n", *lines[2:]]))
        assert "journal.jsonl, line 3: not a journal line: nested deeper than 64 levels" in verify_or_error(copy)
        with pytest.raises(DamagedError, match=r"journal\.jsonl, line 3"):
            RunReader(copy)


def test_a_line_longer_than_the_bound_is_damage_with_file_and_line(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(whole, tmp_path / "run"))
    with (copy / "000/rows.jsonl").open("ab") as stream:
        stream.write(b'"' + b"x" * (store.MAX_LINE_BYTES + 1) + b'"\n')
    assert any(f.startswith("000/rows.jsonl, line 4: a line longer than 64 MiB") for f in verify_or_error(copy))
    with pytest.raises(DamagedError, match=r"000/rows\.jsonl, line 4"):
        RunReader(copy).lines("000/rows")


def test_a_forged_journal_with_fields_of_other_types_is_named_or_found_by_its_hash(whole: Path, tmp_path: Path) -> None:
    known, copy = verify_run(whole).tip, Path(shutil.copytree(whole, tmp_path / "run"))
    pristine = {name: (copy / name).read_bytes() for name in (store.JOURNAL, store.HEAD)}
    passed = 0
    original = [json.loads(line) for line in pristine[store.JOURNAL].splitlines()]
    for line, key in list_journal_fields(whole):
        for value in (value for value in OTHER_TYPES if repr(value) != repr(original[line][key])):

            def put(events: list[store.Event], line: int = line, key: str = key, value: Any = value) -> None:
                events[line][key] = value

            forge_journal(copy, put)
            if (copy / store.JOURNAL).read_bytes() == pristine[store.JOURNAL]:
                continue  # the forger computes the records' hash anew
            with limited():
                assert not verify_run(copy, known).ok
                answer(lambda: resume(copy))
                answer(lambda: RunReader(copy).constitution)
                passed += 1
            for name, data in pristine.items():
                (copy / name).write_bytes(data)
    assert passed > 150


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../out", "a\\b", "a\0b", "", ".", "a//b"])
def test_names_that_lead_out_of_the_run_are_refused_everywhere(whole: Path, tmp_path: Path, name: str) -> None:
    def rename(events: list[store.Event]) -> None:
        for event in events:
            if event.get("step") == "000/rows":
                event["step"] = name

    def publish(events: list[store.Event]) -> None:
        next(e for e in events if e["event"] == "published")["files"][name] = "0" * 64

    def seal(record: dict[str, Any]) -> None:
        record["files"][name] = "0" * 64

    forgeries: list[Callable[[Path], object]] = [
        lambda run: forge_journal(run, rename),
        lambda run: forge_journal(run, publish),
        lambda run: reseal(run, "000/policy", seal),
    ]
    for number, forge in enumerate(forgeries):
        copy = Path(shutil.copytree(whole, tmp_path / str(number) / "run"))
        forge(copy)
        assert any("a name that leads out of the run" in fault for fault in verify_or_error(copy))
        for read in (resume, fork):
            assert "a name that leads out of the run" in answer(partial(read, copy))
    with pytest.raises(DamagedError, match="leads out of the run"):
        RunReader(whole).read_text(name)
    with pytest.raises(DamagedError, match="leads out of the run"):
        RunReader(whole).lines(f"{name}/x")


def run_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """A command's exit code and all that it says; an exception that is no answer passes through."""
    with limited(), pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out + said.err


def test_no_command_ends_in_a_traceback(told: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, seen = tmp_path / "out", set[str]()
    mutations = [m for m in list_mutations(told) if not m.harmless and not m.foreign]
    for mutation in mutations[3::17]:
        try:
            copy = str(changed(told, tmp_path / "copy", mutation))
        except FileNotFoundError:
            continue  # a mutation of a file that this run does not have
        code, said = run_command(capsys, "verify", copy, "--strict")
        assert code == 3, (mutation.name, said)
        for command in (
            ("show", copy),
            ("report", copy, "--out", str(out / "report.html")),
            ("explain", copy, "--score", "harmlessness"),
            ("resume", copy),
            ("export", copy, "--out", str(out / "policy")),
        ):
            code, said = run_command(capsys, *command)
            assert "Traceback" not in said, (mutation.name, command)
            seen.add(f"{command[0]} {code}")
        shutil.rmtree(out, ignore_errors=True)
    assert {"show 3", "report 3", "explain 3", "resume 3", "export 3"} <= seen


@pytest.mark.parametrize("value", OTHER_TYPES, ids=repr)
def test_an_outcome_of_another_type_is_named(told: Path, tmp_path: Path, value: Any) -> None:
    copy = Path(shutil.copytree(told, tmp_path / "run"))
    whole = json.loads((copy / "outcome.json").read_bytes())
    for key in (None, "stopped", "planted", "independent", "policy"):
        data = json.dumps(value if key is None else {**whole, key: value}).encode()
        (copy / "outcome.json").write_bytes(data)

        def publish(events: list[store.Event], data: bytes = data) -> None:
            next(e for e in events if e["event"] == "published")["files"]["outcome.json"] = store.sha256(data)

        shutil.copy(told / store.JOURNAL, copy / store.JOURNAL)
        forge_journal(copy, publish)
        said = answer(lambda: RunReader(copy).outcome)
        if said:
            assert "outcome.json" in said


def test_foreign_files_are_listed_and_an_error_when_strict(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(whole, tmp_path / "run"))
    for name in ("001/evil.py", "tokenizer.json", "adapter2/adapter.bin"):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_bytes(b"x")
    found = verify_run(copy)
    assert (found.ok, found.foreign) == (True, ("001/evil.py", "adapter2/adapter.bin", "tokenizer.json"))
    strict = verify_run(copy, strict=True)
    assert [str(fault) for fault in strict.faults] == [f"{name}: belongs to no step" for name in found.foreign]
    assert run_command(capsys, "verify", str(copy))[0] == 0
    code, said = run_command(capsys, "verify", str(copy), "--strict")
    assert code == 3
    assert "001/evil.py: belongs to no step" in said


def test_a_run_at_work_may_keep_scratch_files(tmp_path: Path) -> None:
    assert set(store.SCRATCH) == {SERVER_DIR, TUNING_DIR, store.AHEAD}
    with begin(tmp_path / "run"):
        pass
    (tmp_path / "run" / SERVER_DIR).mkdir()
    (tmp_path / "run" / SERVER_DIR / "model").symlink_to("/etc")
    (tmp_path / "run/.HEAD.tmp").write_bytes(b"")
    found = verify_run(tmp_path / "run", strict=True)
    assert (found.ok, found.foreign) == (True, ())
    resume(tmp_path / "run")
    assert SERVER_DIR in str(verify_run(tmp_path / "run").foreign)


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_the_spec_of_a_chain_is_read_without_trust(kind: str, tmp_path: Path) -> None:
    chain, spec = tmp_path / "chain", tmp_path / "chain" / store.SPEC
    chain.mkdir()
    (tmp_path / "secret.yaml").write_text("steps: [{method: red_team}]\n", encoding="utf-8")
    if kind == "link":
        spec.symlink_to(tmp_path / "secret.yaml")
    elif kind == "fifo":
        os.mkfifo(spec)
    else:
        spec.mkdir()
    for read in (chain_runs, is_complete, jobs.resume_run):
        assert "spec.yaml" in answer(partial(read, chain))
        with pytest.raises(DamagedError):
            read(chain)
