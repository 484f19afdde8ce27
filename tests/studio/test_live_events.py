"""A run at work, followed by its journal."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from charter.studio import live_events
from charter.studio.live_events import JournalFollower, follow_run
from tests.fakes.recorded_run import Tale, tell
from tests.fakes.studio_client import enter, open_studio


def told_by(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


async def collect(run: Path, patience: float = 5.0) -> list[str]:
    return [line async for line in follow_run(run, patience, 0.01)]


def test_a_finished_run_is_told_once(tmp_path: Path) -> None:
    run = tell(tmp_path / "one")
    lines = asyncio.run(collect(run))
    assert len(lines) == 1
    found = told_by(lines)[0]
    assert found["event"] == "finished"
    assert found["sealed"] == sum(1 for _ in run.rglob("*.seal.json"))


def test_what_is_added_is_told_until_the_run_pauses(tmp_path: Path) -> None:
    run = tell(tmp_path / "one", Tale(finished=False))
    journal, records = run / "journal.jsonl", run / "002" / "exchanges.jsonl"

    async def follow_and_add() -> list[dict[str, Any]]:
        found = []
        async for line in follow_run(run, 5.0, 0.01):
            found += told_by([line])
            if len(found) == 1 and line.startswith("data"):
                records.parent.mkdir()
                records.write_bytes(b'{"id":"a"}\n{"id":"b"}\n{"id"')
                with journal.open("ab") as stream:
                    stream.write(b'{"event":"opened","step":"002/exchanges","items":9}\n{"event":"hu')
            elif len(found) == 2 and line.startswith("data"):
                with records.open("ab") as stream:
                    stream.write(b':"c"}\n')
            elif len(found) == 3 and line.startswith("data"):
                with journal.open("ab") as stream:
                    stream.write(b'man"}\n{"event":"paused"}\n')
        return found

    found = asyncio.run(follow_and_add())
    assert [(e["step"], e["records"], e["wanted"]) for e in found[1:]] == [
        ("002/exchanges", 2, 9),
        ("002/exchanges", 3, 9),
        ("002/exchanges", 3, 9),
    ]
    assert found[-1]["event"] == "paused"


def test_a_run_that_says_nothing_is_not_followed_for_ever(tmp_path: Path) -> None:
    run = tell(tmp_path / "one", Tale(finished=False))
    lines = asyncio.run(collect(run, 0.05))
    assert len(told_by(lines)) == 1
    assert lines[1:] == [": still here\n\n"] * 4


def test_a_run_that_goes_away_ends_the_stream(tmp_path: Path) -> None:
    assert asyncio.run(collect(tmp_path / "none")) == []


def test_a_journal_is_read_once(tmp_path: Path) -> None:
    follower = JournalFollower(tell(tmp_path / "one"))
    assert follower.read_news()
    assert not follower.read_news()


def test_streams_are_counted_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(tmp_path / "one")
    app = open_studio(tmp_path)
    viewer = enter(app, "viewer" * 8)
    assert viewer.read("/runs/one/events").startswith("data: {")
    assert viewer.client.get("/runs/one/events").headers["content-type"].startswith("text/event-stream")
    assert app.state.streams == 0
    monkeypatch.setattr(live_events, "MAX_STREAMS", 0)
    viewer.read("/runs/one/events", 503)
