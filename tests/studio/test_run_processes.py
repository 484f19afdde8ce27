"""Runs are started as processes of their own, a few at a time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from charter.errors import LockedError, SpecError
from charter.studio import run_processes
from charter.studio.run_processes import RunProcesses
from tests.fakes.recorded_run import Tale, tell
from tests.fakes.studio_client import enter, open_studio

WAITING = ("-c", "import time, sys; sys.stderr.write('at work'); sys.stderr.flush(); time.sleep(60)")


def start(processes: RunProcesses, name: str, *words: str) -> run_processes.RunProcess:
    """A process of any words in place of charter's."""
    return processes._spawn(name, words)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own words in place of ``-m charter.cli``."""
    monkeypatch.setattr(run_processes, "PROGRAM", (sys.executable,))


@pytest.mark.usefixtures("plain")
def test_a_run_is_started_once_at_a_time_and_few_in_all(tmp_path: Path) -> None:
    processes = RunProcesses(tmp_path)
    started = [start(processes, f"run{n}", *WAITING) for n in range(run_processes.MAX_AT_WORK - 1)]
    try:
        with pytest.raises(LockedError, match="run0 is at work already"):
            start(processes, "run0", *WAITING)
        started.append(start(processes, "last", *WAITING))
        with pytest.raises(LockedError, match="runs are at work"):
            start(processes, "more", *WAITING)
    finally:
        for one in started:
            one.process.kill()
            one.process.wait(30)
    again = start(processes, "run0", "-c", "import sys; sys.exit('what went wrong')")
    assert again.process.wait(60) == 1
    assert (again.exit_code, again.last_words) == (1, "what went wrong\n")
    assert len(processes.started) == len(started)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "-rf", ".hidden", "a b", "taken", "a" * 101, "x\n"])
def test_a_new_run_has_a_name_of_its_own(tmp_path: Path, name: str) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(SpecError, match="cannot name a new run"):
        RunProcesses(tmp_path).begin_run("iteralign", name)
    with pytest.raises(SpecError, match="no shipped recipe"):
        RunProcesses(tmp_path).begin_run("--help", "new")


@pytest.mark.slow
def test_an_admin_goes_on_with_a_run_by_a_process(tmp_path: Path) -> None:
    tell(tmp_path / "one", Tale(finished=False))
    app = open_studio(tmp_path)
    admin = enter(app, "admin" * 8)
    assert admin.post("/runs/one/resume", {}).status_code == 303
    one = app.state.studio.processes.started[0]
    assert one.words == ("resume", str(tmp_path / "one"), "--quiet")
    assert one.process.wait(120) != 0, "a recorded run has no spec that can be gone on with"
    page = admin.read("/runs/one/live")
    assert f"Its process ended with code {one.exit_code}" in page
    assert "charter: " in page
    assert "charter resume" in admin.read("/start")
