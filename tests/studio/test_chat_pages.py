"""Both models of a run answer in the studio, from a process of their own."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from charter.errors import EngineError, LockedError
from charter.studio import run_processes
from charter.studio.chat_process import ChatProcess
from tests.fakes.recorded_run import Tale, tell
from tests.fakes.studio_client import enter, open_studio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

ECHO = """
import json, sys, os
for line in sys.stdin:
    text = json.loads(line)
    if text == "die": sys.exit("charter: no weights <b>")
    if text == "wait": sys.stdin.readline()
    print(json.dumps({"base": f"{os.getpid()} {text}", "aligned": f"not {text} {sys.argv[2]}"}), flush=True)
"""


@pytest.fixture(autouse=True)
def _echo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words that come back, in place of models."""
    monkeypatch.setattr(run_processes, "PROGRAM", (sys.executable, "-c", ECHO))


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FastAPI]:
    tell(tmp_path / "one")
    tell(tmp_path / "under-way", Tale(finished=False))
    found = open_studio(tmp_path)
    yield found
    found.state.chat.close()


def test_both_answers_stand_side_by_side_and_nothing_is_kept(app: FastAPI, tmp_path: Path) -> None:
    rob = enter(app, "reviewer" * 8)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert "Ask both" in rob.read("/runs/one/chat")
    answer = rob.post("/runs/one/chat", {"prompt": "who <img src=x>\r\nare you?"})
    assert answer.status_code == 200
    assert f"not who &lt;img src=x&gt;\nare you? {tmp_path / 'one'}" in answer.text
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_who_may_ask_and_what(app: FastAPI) -> None:
    rob, viewer = enter(app, "reviewer" * 8), enter(app, "viewer" * 8)
    assert viewer.client.get("/runs/one/chat").status_code == 403
    assert viewer.post("/runs/one/chat", {"prompt": "x"}).status_code == 403
    assert ">Chat<" not in viewer.read("/runs/one")
    for wrong in ("", " ", "x" * 4001):
        assert rob.post("/runs/one/chat", {"prompt": wrong}).status_code == 400
    assert "not finished" in rob.read("/runs/under-way/chat")
    failed = rob.post("/runs/one/chat", {"prompt": "die"})
    assert (failed.status_code, "charter: no weights &lt;b&gt;" in failed.text) == (502, True)
    assert rob.post("/runs/one/chat", {"prompt": "again"}).status_code == 200


def test_a_process_stays_until_another_run_is_asked() -> None:
    chat = ChatProcess()
    first, second = (chat.ask_both(Path("one"), text)["base"].split()[0] for text in "ab")
    other = chat.ask_both(Path("two"), "c")
    assert first == second != other["base"].split()[0]
    assert other["aligned"] == f"not c {Path('two').absolute()}"
    chat.close()


def test_one_prompt_at_a_time_and_none_for_ever() -> None:
    chat = ChatProcess(patience=1.0)
    faults: list[Exception] = []

    def ask() -> None:
        try:
            chat.ask_both(Path("one"), "wait")
        except EngineError as error:
            faults.append(error)

    waiting = threading.Thread(target=ask)
    waiting.start()
    while not chat._mutex.locked():
        pass
    with pytest.raises(LockedError, match="somebody else"):
        chat.ask_both(Path("one"), "x")
    waiting.join(30)
    assert ["no answer in time" in str(fault) for fault in faults] == [True]
    chat.close()
