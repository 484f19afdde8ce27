"""What a reader holds between two readings, and what it reads anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.errors import DamagedError
from charter.records.record import canonical
from charter.records.revisions import RevisionCheck
from charter.runs import Run
from charter.runs.reader import RunReader
from tests.fakes.scripted_run import WORDS, Word


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run with a finished step of words."""
    with Run.create(tmp_path / "run", spec_text="x: 1\n") as run:
        run.steps("000").record("words", WORDS)
    return tmp_path / "run"


def test_a_page_reads_a_finished_step_once(finished: Path) -> None:
    reader = RunReader(finished, hold=True)
    assert list(reader.records("000/words", Word)) == list(WORDS)
    assert reader.records("000/words", Word) is reader.records("000/words", Word)
    fresh = RunReader(finished)
    assert fresh.records("000/words", Word) is not fresh.records("000/words", Word)


def test_what_is_held_does_not_hide_a_change_of_the_file(finished: Path) -> None:
    reader = RunReader(finished, hold=True)
    assert len(reader.records("000/words", Word)) == len(WORDS)
    path = finished / "000" / "words.jsonl"
    path.write_bytes(path.read_bytes().replace(WORDS[0].text.encode(), b"another", 1))
    with pytest.raises(DamagedError):
        reader.records("000/words", Word)


def test_records_are_counted_by_the_seal_and_by_lines_while_there_is_none(finished: Path) -> None:
    reader = RunReader(finished)
    assert reader.count("000/words") == len(WORDS)
    (finished / "000" / "words.jsonl").unlink()
    assert RunReader(finished).count("000/words") == len(WORDS)
    (finished / "001").mkdir()
    (finished / "001" / "verdicts.jsonl").write_text('{"id":"a"}\n{"id":"b"}\n{"id"')
    assert reader.count("001/verdicts") == 2
    assert reader.count("002/verdicts") == 0


def test_a_field_is_tallied_without_what_texts_hold(tmp_path: Path) -> None:
    rows = [
        RevisionCheck(id="a", kept=True),
        RevisionCheck(id='"kept":true', kept=False, reasons=("too ]long", 'said "x", "y"')),
        RevisionCheck(id='\\","kept":true,"reasons":["z"],"', kept=False, reasons=("too ]long",)),
    ]
    with Run.create(tmp_path / "run", spec_text="x: 1\n") as run:
        run.steps("001").record("kept", rows)
    reader = RunReader(tmp_path / "run")
    assert reader.tally("001/kept", "kept") == {"true": 1, "false": 2}
    assert reader.tally("001/kept", "reasons") == {"too ]long": 2, 'said "x", "y"': 1}
    assert reader.tally("002/kept", "kept") == {}


def test_what_is_tallied_is_what_was_sealed(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", spec_text="x: 1\n") as run:
        run.steps("001").record("kept", [RevisionCheck(id="a", kept=True)])
    path = tmp_path / "run" / "001" / "kept.jsonl"
    path.write_bytes(path.read_bytes().replace(b"true", b"false"))
    with pytest.raises(DamagedError, match="line 1"):
        RunReader(tmp_path / "run").tally("001/kept", "kept")


def test_a_value_that_is_no_json_is_named(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", spec_text="x: 1\n"):
        pass
    (tmp_path / "run" / "001").mkdir()
    (tmp_path / "run" / "001" / "kept.jsonl").write_bytes(b'{"id":"\\x"}\n')
    with pytest.raises(DamagedError, match="id holds no JSON"):
        RunReader(tmp_path / "run").tally("001/kept", "id")


def test_records_are_found_by_what_their_lines_hold(finished: Path) -> None:
    """A text that looks like the mark is no mark: its quotes are escaped."""
    reader, sought = RunReader(finished), WORDS[1]
    mark = f'"text":"{sought.text}"'
    assert list(reader.find_records("000/words", Word, mark)) == [sought]
    assert list(reader.find_records("000/words", Word)) == list(WORDS)
    assert mark not in canonical(Word(id="a", text=mark))


def test_a_changed_line_is_found_before_the_records_that_were_looked_for(finished: Path) -> None:
    path = finished / "000" / "words.jsonl"
    path.write_bytes(path.read_bytes().replace(WORDS[0].text.encode(), b"another", 1))
    with pytest.raises(DamagedError):
        list(RunReader(finished).find_records("000/words", Word, f'"text":"{WORDS[1].text}"'))
