"""A step's records as Parquet: whatever reads a run finds in them what it finds in lines."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import count
from pathlib import Path
from pkgutil import iter_modules
from types import CodeType, FrameType
from typing import Any

import pandas
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from charter import records
from charter.cli import main
from charter.errors import DamagedError, StoreError
from charter.records.record import Record, canonical
from charter.reports.integrity import verify_run
from charter.reports.record_pages import read_page
from charter.runs import Run, store
from charter.runs.reader import RunReader
from charter.runs.store import files, parquet_lines, seals
from charter.studio.live_events import JournalFollower
from charter.studio.record_search import LineSearch, RecordFiles
from tests.fakes.damaged_runs import forge_journal
from tests.fakes.recorded_run import tell
from tests.fakes.scripted_run import WORDS, Answer, Word, begin, breaking, echo, play, probe, substance
from tests.runs.test_store import largest_file

FORMS = {"lines": 256, "parquet": 0}
"""Each form of records, with the megabytes above which a run keeps Parquet."""
STEP = "000/answers"
HASHES = re.compile(r"[0-9a-f]{8,64}")


class Varied(Record):
    """A field of each kind."""

    id: str
    text: str = ""
    size: int = 0
    part: float = 0.0
    sure: bool = False
    near: float | None = None
    both: int | str = 0
    deep: tuple[str, ...] = ()
    record: str = ""


texts = st.text(st.characters(codec="utf-8"), max_size=12)
any_varied = st.builds(
    Varied,
    id=texts,
    text=texts,
    size=st.integers(),
    part=st.floats(),
    sure=st.booleans(),
    near=st.none() | st.floats(allow_nan=False),
    both=st.integers() | texts,
    deep=st.tuples(texts),
    record=texts,
)
anywhere = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of few records have several groups of rows."""
    monkeypatch.setattr(parquet_lines, "_GROUP_ROWS", 4)


@pytest.fixture
def forms(tmp_path: Path) -> dict[str, Path]:
    """The same finished run in each form."""
    for form, above in FORMS.items():
        with begin(tmp_path / form, parquet_above_mb=above) as run:
            play(run)
    return {form: tmp_path / form for form in FORMS}


def read_names(directory: Path, ending: str) -> set[str]:
    return {path.relative_to(directory).with_suffix("").as_posix() for path in directory.rglob(f"*{ending}")}


def read_seals(directory: Path) -> dict[str, bytes]:
    return {name: data for name, data in substance(directory).items() if name.endswith(".seal.json")}


def test_a_run_has_the_same_seals_and_results_in_both_forms(forms: dict[str, Path]) -> None:
    lines, packed = forms["lines"], forms["parquet"]
    steps = read_names(lines, ".jsonl") - {"journal"}
    assert (read_names(packed, ".parquet"), read_names(packed, ".jsonl")) == (steps, {"journal"})
    assert len(steps) == 10
    assert read_seals(packed) == read_seals(lines)
    heads = [store.expected_head(RunReader(run).events) for run in forms.values()]
    assert heads[0] is not None
    assert heads[1] is not None
    assert heads[0].records == heads[1].records
    assert verify_run(packed, heads[1].head, strict=True).anchored
    with begin(packed) as again:
        assert play(again) == heads[1]


READERS: dict[str, Callable[[Path], Any]] = {
    "lines": lambda run: list(RunReader(run).lines(STEP)),
    "records": lambda run: RunReader(run).records(STEP, Answer),
    "held": lambda run: RunReader(run, hold=True).records(STEP, Answer),
    "found": lambda run: list(RunReader(run).find_records(STEP, Answer, '"id":"w5"')),
    "count": lambda run: RunReader(run).count(STEP),
    "tally": lambda run: RunReader(run).tally(STEP, "reply"),
    "page": lambda run: read_page(RunReader(run), STEP, 1),
    "search": lambda run: list(_open_file(run).search_lines(LineSearch(field="id", value="w4"))),
    "text": lambda run: list(_open_file(run).search_lines(LineSearch(text="W"))),
    "found in a file": lambda run: _open_file(run).find_record("w5"),
    "no such line": lambda run: [_open_file(run).has_line(number) for number in (-1, 5, 6)],
    "told": lambda run: JournalFollower(run, step=STEP).count_records(),
}


def _open_file(run: Path) -> Any:
    file = RecordFiles().open_step(run, STEP)
    assert file is not None
    return file


@pytest.mark.parametrize("name", READERS)
def test_a_reader_finds_the_same_in_both_forms(forms: dict[str, Path], name: str) -> None:
    lines, packed = (READERS[name](forms[form]) for form in FORMS)
    assert packed == lines
    assert lines


def test_a_long_step_is_read_from_both_forms(forms: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charter.runs.store.record_file.MAX_HELD", 2)
    lines, packed = (RunReader(forms[form]).records(STEP, Answer) for form in FORMS)
    assert isinstance(packed, store.StoredRecords)
    assert list(packed) == list(lines)
    assert (packed[5], packed[1:5], packed[-1], packed[9:]) == (lines[5], lines[1:5], lines[-1], [])
    with pytest.raises(IndexError):
        packed[6]


def test_a_fork_keeps_the_form_of_each_step(forms: dict[str, Path], tmp_path: Path) -> None:
    with Run.open(forms["parquet"]) as run:
        run.fork(tmp_path / "fork", at="001/second")
    with begin(tmp_path / "fork") as run:
        play(run)
    assert read_seals(tmp_path / "fork") == read_seals(forms["lines"])
    assert read_names(tmp_path / "fork", ".parquet") == {
        *(f"000/{name}" for name in ("answers", "verdicts", "rows", "second", "policy")),
        *(f"001/{name}" for name in ("answers", "verdicts", "rows")),
    }
    assert verify_run(tmp_path / "fork", strict=True).ok


def test_a_run_that_breaks_goes_on_to_the_same_parquet(forms: dict[str, Path], tmp_path: Path) -> None:
    stops = 0
    for _ in range(100):
        with begin(tmp_path / "run", parquet_above_mb=0) as run:
            try:
                play(run, breaking(7))
                break
            except RuntimeError:
                stops += 1
    assert stops
    assert substance(tmp_path / "run") == substance(forms["parquet"])


COMMANDS = (
    ("show", "RUN"),
    ("show", "RUN", "--json"),
    ("show", "RUN", "--step", "001/exchanges"),
    ("explain", "RUN", "--score", "harmlessness"),
    ("compare", "RUN", "RUN"),
    ("report", "RUN", "--out", "OUT"),
)


def pack_all(run: Path) -> None:
    """Turns every step of a run into Parquet, as if it had been sealed so."""
    digests = {step: store.pack_records(run, step, Word, 0) for step in RunReader(run).seals}

    def name_files(events: list[store.Event]) -> None:
        for event in events:
            if event["event"] == "sealed" and digests[event["step"]]:
                event["parquet"] = digests[event["step"]]

    forge_journal(run, name_files)
    assert verify_run(run, strict=True).ok


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_says_the_same_of_both_forms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    run, out, said = tell(tmp_path / "run"), tmp_path / "out", []
    for change in (RunReader, pack_all):
        change(run)
        with pytest.raises(SystemExit) as ended:
            main([{"RUN": str(run), "OUT": str(out)}.get(word, word) for word in command])
        assert not ended.value.code, capsys.readouterr()
        text = capsys.readouterr().out + (out.read_text(encoding="utf-8") if out.exists() else "")
        said.append(HASHES.sub("", text))
    assert said[0] == said[1]
    assert len(said[0]) > 40


def answer_once(directory: Path) -> None:
    with begin(directory, parquet_above_mb=0) as run:
        run.steps("000").map("answers", probe, WORDS, echo())


def play_until(moment: int, directory: Path) -> bool:
    """Plays a step in a process that is killed before it executes so many lines of the functions that put files into
    their place. Whether it came to its end."""
    watched = {function.__code__ for function in (seals.pack_records, parquet_lines.write_parquet, files.write_atomic)}
    left = moment

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        code: CodeType = frame.f_code
        if code not in watched:
            return None
        left -= event == "line"
        if not left:
            os._exit(9)
        return trace

    child = os.fork()
    if not child:
        sys.settrace(trace)
        answer_once(directory)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.slow
def test_a_kill_at_any_line_leaves_a_run_that_goes_on_to_the_same_end(tmp_path: Path) -> None:
    answer_once(tmp_path / "peace")
    states = set()
    for moment in count(1):
        run = tmp_path / f"{moment}"
        if play_until(moment, run):
            break
        if (run / store.JOURNAL).exists():
            found = {path.name for path in (run / "000").glob("*")}
            states.add(frozenset(found))
            assert verify_run(run).ok, found
        answer_once(run)
        assert substance(run) == substance(tmp_path / "peace"), moment
        assert verify_run(run, strict=True).ok
    both = {"answers.jsonl", "answers.seal.json", "answers.parquet"}
    assert {frozenset(both), frozenset(both - {"answers.jsonl"}), frozenset(both - {"answers.parquet"})} <= states
    assert any(".answers.parquet.tmp" in found for found in states)


@anywhere
@given(found=st.lists(any_varied, max_size=11), first=st.integers(0, 12))
def test_what_is_written_is_what_is_read(tmp_path: Path, found: list[Varied], first: int) -> None:
    lines = [canonical(record).encode() for record in found]
    (tmp_path / "a.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    parquet_lines.write_parquet(tmp_path / "a.parquet", lines, Varied)
    stream = store.LineStream(tmp_path / "a.parquet")
    assert (list(stream), stream.count, stream.torn) == (lines, len(lines), b"")
    assert stream.size == (tmp_path / "a.jsonl").stat().st_size
    file, other = (store.RecordFile(tmp_path / name, tmp_path) for name in ("a.parquet", "a.jsonl"))
    assert len(file) == len(other)
    assert list(file.iterate_lines(first)) == list(other.iterate_lines(first))
    assert file.read_lines(range(len(lines))[::-2]) == lines[::-2]
    assert b"".join(piece for _, piece in file.read_pieces()) == (tmp_path / "a.jsonl").read_bytes()
    assert file.tally_values("text") == other.tally_values("text")


def test_tables_find_the_fields_that_hold_one_value(tmp_path: Path) -> None:
    varied = [
        Varied(id="a", text="é", size=1 << 63, part=2.0, sure=True, near=None, both="b", deep=("c",), record="d"),
        Varied(id="b", size=-(1 << 63), near=0.5),
    ]
    lines = [canonical(record).encode() for record in varied]
    parquet_lines.write_parquet(tmp_path / "a.parquet", lines, Varied)
    table = pandas.read_parquet(tmp_path / "a.parquet", dtype_backend="pyarrow")
    assert list(table.columns) == ["record", "id", "text", "size", "part", "sure", "near"]
    assert list(table["record"]) == [line.decode() for line in lines]
    assert table["text"].tolist() == ["é", ""]
    assert table["size"].isna().tolist() == [True, False]
    assert table["size"][1] == -(1 << 63)
    assert (table["part"][0], table["sure"].tolist(), table["near"][1]) == (2.0, [True, False], 0.5)


def test_records_of_every_step_have_a_form_in_parquet(tmp_path: Path) -> None:
    for module in iter_modules(records.__path__, "charter.records."):
        import_module(module.name)
    kinds = _subclasses(Record)
    assert len(kinds) > 50
    for kind in kinds:
        parquet_lines.write_parquet(tmp_path / "a.parquet", [], kind)
        assert parquet.read_schema(tmp_path / "a.parquet").names[0] == "record"


def _subclasses(kind: type[Record]) -> set[type[Record]]:
    return {kind}.union(*(_subclasses(one) for one in kind.__subclasses__()))


def write_table(path: Path, **columns: Any) -> None:
    parquet.write_table(pyarrow.table(columns), path)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"PAR1 and no more"),
        lambda path: path.write_bytes(b""),
        lambda path: write_table(path, other=["a"]),
        lambda path: write_table(path, record=[1]),
        lambda path: write_table(path, record=[None, "{}"]),
        lambda path: write_table(path, record=[["{}"]]),
    ],
)
def test_a_file_that_charter_did_not_write_is_named(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "a.parquet")
    with pytest.raises(DamagedError, match=r"a\.parquet"):
        list(store.LineStream(tmp_path / "a.parquet"))


def test_a_group_of_rows_too_large_to_be_read_whole_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_lines, "MAX_OBJECT_BYTES", 1 << 20)
    write_table(tmp_path / "a.parquet", record=["{}"], more=[os.urandom(2 << 20)])
    with pytest.raises(DamagedError, match="more than 1 MiB"):
        list(store.LineStream(tmp_path / "a.parquet"))


def test_another_table_of_the_same_lines_is_a_changed_file(forms: dict[str, Path]) -> None:
    path = forms["parquet"] / f"{STEP}.parquet"
    lines = [line.decode() for line in store.LineStream(path)]
    write_table(path, record=lines, reply=["not what the line says"] * len(lines))
    assert [str(fault) for fault in verify_run(forms["parquet"]).faults] == [
        f"{STEP}.parquet: the file was changed",
    ]
    with pytest.raises(DamagedError, match="the file was changed"):
        RunReader(forms["parquet"]).records(STEP, Answer)


def test_lines_beside_a_parquet_file_are_named(forms: dict[str, Path]) -> None:
    (forms["parquet"] / f"{STEP}.jsonl").write_bytes((forms["lines"] / f"{STEP}.jsonl").read_bytes())
    assert [fault.file for fault in verify_run(forms["parquet"]).faults] == [f"{STEP}.jsonl"]


def test_a_full_disk_leaves_the_lines(tmp_path: Path) -> None:
    words = [Word(id=f"w{n}", text=os.urandom(400).hex()) for n in range(40)]
    with begin(tmp_path / "run") as run:
        run.steps("000").record("words", words)
    path = tmp_path / "run/000/words.jsonl"
    with largest_file(10_000), pytest.raises(StoreError, match="Free some space"):
        store.pack_records(tmp_path / "run", "000/words", Word, 0)
    assert [json.loads(line)["id"] for line in store.LineStream(path)] == [word.id for word in words]
    assert not list((tmp_path / "run/000").glob("*parquet*"))


def test_a_step_stays_lines_up_to_the_size(tmp_path: Path) -> None:
    with begin(tmp_path / "run") as run:
        run.steps("000").record("words", WORDS)
    path = tmp_path / "run/000/words.jsonl"
    size = path.stat().st_size
    assert store.pack_records(tmp_path / "run", "000/words", Word, size) is None
    assert path.exists()
    packed = store.pack_records(tmp_path / "run", "000/words", Word, size - 1)
    assert packed == store.file_digest(tmp_path / "run/000/words.parquet")
    assert not path.exists()


def iterate_words(total: int) -> Iterator[bytes]:
    for number in range(total):
        yield canonical(Word(id=f"w{number}", text="x" * 100)).encode()


def test_a_group_of_rows_ends_at_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_lines, "_GROUP_BYTES", 250)
    parquet_lines.write_parquet(tmp_path / "a.parquet", iterate_words(7), Word)
    found = parquet.ParquetFile(tmp_path / "a.parquet").metadata
    assert [found.row_group(number).num_rows for number in range(found.num_row_groups)] == [3, 3, 1]
