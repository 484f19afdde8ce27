"""``charter feedback`` at the command line, and a service that is killed while many clients send."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from charter.cli import main
from charter.jobs.feedback_intake import open_feedback_store
from charter.studio.feedback_keys import read_keys
from tests.fakes.said_feedback import stored
from tests.fakes.taught_runs import record_taught_run

CHANGED = "\x1b[31mred\x1b[0m"


def run_command(*words: str) -> int:
    """How a command exits."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def call(*words: str) -> int:
    """The same of a command about feedback."""
    return run_command("feedback", *words)


def fill(path: Path) -> str:
    with open_feedback_store(str(path), create=True) as store:
        rows = [stored("1", answer=CHANGED), stored("2", consent="none"), stored("3", kind="rating", rating=5)]
        store.add_rows(rows)
        store.erase_row(rows[2].id, "2026-11-30T11:00:00+00:00")
    return str(path)


def test_rows_are_listed_without_their_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = fill(tmp_path / "f.db")
    assert call("list", "--store", place) == 0
    told = capsys.readouterr().out
    assert stored("1").id in told
    assert "erased" in told
    assert "red" not in told.replace("erased", "")
    assert call("list", "--store", place, "--json", "--n", "2") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in rows] == [stored("2").id, stored("3").id]
    assert "prompt" not in rows[0]["said"]


def test_rows_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = fill(tmp_path / "f.db")
    assert call("count", "--store", place) == 0
    assert "1 rows may be used." in capsys.readouterr().out
    assert call("count", "--store", place, "--json") == 0
    assert {(one["kind"], one["rows"], one["erased"]) for one in json.loads(capsys.readouterr().out)} == {
        ("thumbs", 1, 0), ("rating", 1, 1)
    }  # fmt: skip


def test_a_file_goes_in_and_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "said.csv").write_text(
        "id,kind,prompt,answer,thumbs,consent\n1,thumbs,i am ann@example.com ?,no .,down,improve\n"
        "2,thumbs,hm ?,no .,down,\n"
    )
    place, out = str(tmp_path / "f.db"), tmp_path / "attempts.jsonl"
    assert call("import", str(tmp_path / "said.csv"), "--store", place) == 0
    told = capsys.readouterr().err
    assert "2 rows added, 0 known" in told
    assert "masked: 1 EMAIL" in told
    assert "1 of the new rows have no consent" in told
    assert call("export", "--store", place, "--as", "attempts", "--out", str(out)) == 0
    assert "1 rows, 1 left out for want of consent" in capsys.readouterr().err
    assert json.loads(out.read_text())["prompt"] == "i am [EMAIL] ?"


def test_a_store_that_is_not_there_is_not_made_by_reading(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("count", "--store", str(tmp_path / "f.db")) == 3
    assert "there is no store" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_printed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys"
    assert call("key", "shop", "--api-keys", str(path)) == 0
    assert read_keys(path, {}).find_sender(capsys.readouterr().out.strip()) == "shop"


def test_serving_needs_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHARTER_FEEDBACK_KEY", raising=False)
    assert call("serve", "--store", str(tmp_path / "f.db")) == 2


@pytest.mark.slow
def test_what_was_acknowledged_is_there_once_after_a_kill(feedback_place: str) -> None:
    words = ["-m", "tests.fakes.killed_feedback", feedback_place, "300", "20"]
    done = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True, timeout=600)
    found = json.loads(done.stdout)
    assert found["killed"]
    assert found["acknowledged before the kill"] >= 150
    assert {name: found[name] for name in ("acknowledged", "rows", "lost", "twice", "foreign")} == {
        "acknowledged": 300, "rows": 300, "lost": 0, "twice": 0, "foreign": 0
    }  # fmt: skip


def test_a_row_is_traced_and_erased_at_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, row = record_taught_run(tmp_path / "run", [stored("1"), stored("9", prompt="another ?")]), stored("1").id
    place = fill(tmp_path / "f.db")

    def erase(*words: str) -> tuple[int, str]:
        code = run_command("erase", str(run), "--row", row, *words)
        said = capsys.readouterr()
        return code, said.out + said.err

    code, told = erase("--store", place)
    assert (code, "rules: p-1" in told, "Nothing was changed" in told) == (0, True, True)
    assert f"charter fork {run} NEW --without-row {row}" in told
    code, told = erase("--yes")
    assert (code, "no store is named" in told) == (2, True)
    code, told = erase("--yes", "--store", place, "--by", "ada")
    assert (code, f"{row} was taken from the store" in told) == (0, True)
    assert run_command("verify", str(run)) == 0
    assert f"feedback {row}: erased" in capsys.readouterr().out
    code, told = erase("--yes", "--no-store", "--json")
    assert (code, json.loads(told)["taken from the store"]) == (0, False)
    assert run_command("fork", str(run), str(tmp_path / "new"), "--at", "001/findings") == 2
    assert run_command("fork", str(run), str(tmp_path / "new"), "--without-row", row) == 0
    assert "1 left out by id" in capsys.readouterr().err
