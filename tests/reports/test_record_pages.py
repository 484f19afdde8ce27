"""Pages of a step's records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from charter.cli.app import app
from charter.errors import DamagedError, StoreError
from charter.reports.record_pages import read_page
from charter.runs import Run
from charter.runs.reader import RunReader
from tests.fakes.scripted_run import Word, breaking, probe

WORDS = [Word(id=f"w{n}", text=f"word {n}") for n in range(45)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with Run.create(tmp_path / "run", spec_text="x: 1\n") as made:
        made.steps("000").record("words", WORDS)
        with pytest.raises(RuntimeError):
            made.steps("000").map("answers", probe, WORDS, breaking(5))
    return tmp_path / "run"


def test_a_page_holds_its_own_records(run: Path) -> None:
    reading = RunReader(run)
    pages = [read_page(reading, "000/words", page) for page in (1, 2, 3)]
    assert [(page.first, page.total, len(page.lines)) for page in pages] == [(1, 45, 20), (21, 45, 20), (41, 45, 5)]
    assert [json.loads(line)["id"] for page in pages for line in page.lines] == [word.id for word in WORDS]
    unfinished = read_page(reading, "000/answers", 1)
    assert (unfinished.total, len(unfinished.lines)) == (5, 5)
    for step, page in (("000/words", 4), ("000/words", 0), ("000/nothing", 1), ("001/words", 1)):
        with pytest.raises(StoreError, match=r"has no (page|records)"):
            read_page(reading, step, page)


def test_what_was_changed_is_said_and_other_pages_are_shown(run: Path) -> None:
    path = run / "000/words.jsonl"
    path.write_bytes(path.read_bytes().replace(b"word 30", b"werd 30"))
    reading = RunReader(run)
    assert len(read_page(reading, "000/words", 1).lines) == 20
    with pytest.raises(DamagedError, match="lines 21 to 40: not the records that were sealed"):
        read_page(reading, "000/words", 2)


def test_the_command_shows_a_page(run: Path) -> None:
    shown = CliRunner().invoke(app, ["show", str(run), "--step", "000/words", "--page", "3"])
    assert [json.loads(line)["id"] for line in shown.stdout.splitlines()] == [word.id for word in WORDS[40:]]
    assert "records 41 to 45 of 45" in shown.stderr
    told = json.loads(CliRunner().invoke(app, ["show", str(run), "--step", "000/words", "--json"]).stdout)
    assert (told["count"], len(told["records"])) == (45, 20)
