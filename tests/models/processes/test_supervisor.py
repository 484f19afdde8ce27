"""Children that never outlive us: real processes, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from charter.models.processes import ManagedProcess, command_placeholders, exclusive_lock, fill_command

pytestmark = pytest.mark.slow

TREE = """
import os, signal, subprocess, sys, time
stubborn, pids = sys.argv[1] == "stubborn", sys.argv[2]
if stubborn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
sleeper = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
def sleep(**options):
    process = subprocess.Popen([sys.executable, "-S", "-c", sleeper], stdout=subprocess.PIPE, **options)
    process.stdout.readline()
    return process.pid
found = [os.getpid(), sleep(), sleep(start_new_session=True)]
open(pids + ".new", "w").write(" ".join(map(str, found)))
os.rename(pids + ".new", pids)
time.sleep(600)
"""
OWNER = """
import sys
from pathlib import Path
from charter.models.processes import ManagedProcess, exclusive_lock
folder = Path(sys.argv[1])
with exclusive_lock(folder / "lock", 5) as lock:
    with ManagedProcess(sys.argv[2:], folder / "log", grace=0.5, lock=lock) as child:
        child.wait()
"""


def tree(kind: str, pids: Path) -> list[str]:
    """A command with a child in its group and one in a session of its own; both ignore SIGTERM."""
    return [sys.executable, "-S", "-c", TREE, kind, str(pids)]


def appeared(pids: Path, watched: ManagedProcess | subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes of the tree, once they are all there."""
    while not pids.exists():
        assert watched.poll() is None
        os.sched_yield()
    return [psutil.Process(int(pid)) for pid in pids.read_text().split()]


def gone(processes: list[psutil.Process]) -> bool:
    return all(not p.is_running() or p.status() == psutil.STATUS_ZOMBIE for p in processes)


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    return tmp_path / "pids"


@pytest.mark.parametrize("kind", ["gentle", "stubborn"])
def test_stopping_ends_every_descendant(kind: str, tmp_path: Path, pids: Path) -> None:
    with ManagedProcess(tree(kind, pids), tmp_path / "log", grace=0.3) as child:
        processes = appeared(pids, child)
        assert len(processes) == 3
        assert not gone(processes)
    assert gone(processes)
    assert child.poll() == 128 + (signal.SIGTERM if kind == "gentle" else signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_an_owner_that_dies(number: signal.Signals, tmp_path: Path, pids: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path), *tree("stubborn", pids)]
    owner = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    processes = appeared(pids, owner)
    owner.send_signal(number)
    assert owner.wait() != 0
    with exclusive_lock(tmp_path / "lock", patience=30):  # held by the warden until all has ended
        assert gone(processes)


def test_what_a_command_left_behind_is_ended_too(tmp_path: Path, pids: Path) -> None:
    with ManagedProcess(tree("gentle", pids), tmp_path / "log", grace=0.3) as child:
        processes = appeared(pids, child)
        processes[0].kill()
        assert child.wait() == 128 + signal.SIGKILL
    assert gone(processes)


def test_a_lock_that_stays_held_is_an_error(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path / "lock", 0), pytest.raises(TimeoutError), exclusive_lock(tmp_path / "lock", 0):
        pass


def test_secrets_reach_neither_the_command_nor_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "hush-hush-1")
    monkeypatch.setenv("HF_TOKEN", "hush-hush-2")
    monkeypatch.setenv("PLAIN", "loud")
    code = "import os; print([os.environ.get(k) for k in ('SOME_API_KEY', 'HF_TOKEN', 'PLAIN')], 'hush-hush-1')"
    with ManagedProcess([sys.executable, "-S", "-c", code], tmp_path / "log") as child:
        assert child.wait() == 0
        assert child.tail() == "[None, '***', 'loud'] ***"
    assert "hush" not in (tmp_path / "log").read_text()


def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    with ManagedProcess(["no-such-command-here"], tmp_path / "log") as child:
        assert child.wait() == 127
        assert child.tail() == "no-such-command-here cannot be started: No such file or directory"


def test_templates_are_filled_word_by_word_and_never_by_a_shell() -> None:
    template = 'serve {base} --lora {name}={adapter} --config \'{"a": {"b": 1}}\' {unknown}'
    assert command_placeholders(template) == {"base", "name", "adapter", "unknown"}
    words = fill_command(template, {"base": "/a b; rm", "name": "$(x)", "adapter": "{base}"})
    assert words == ["serve", "/a b; rm", "--lora", "$(x)={base}", "--config", '{"a": {"b": 1}}', "{unknown}"]
