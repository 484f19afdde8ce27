"""What a reader holds between two readings, and what it reads anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.errors import DamagedError
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
