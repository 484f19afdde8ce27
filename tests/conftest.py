"""What all tests share: finished runs, each played once a session, files in memory, and the marker ``slow``.

An interrupt reaches the processes that tests start, also where the shell that began the tests ignores it.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MEMORY, ROOM_BYTES = Path("/dev/shm"), 4 << 30
SHARED_RUNS = {"golden_run", "aligned_run"}
"""Fixtures that play a whole run; whatever asks for one is slow."""


def pytest_configure() -> None:
    """Puts the files of tests into memory where there is room. A run flushes each step to the disk, and on a disk a
    small run waits longer than it works."""
    known = "PYTEST_DEBUG_TEMPROOT" in os.environ
    if not known and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM_BYTES:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs a whole run as slow, and begins with what is slow: no process waits for it at the end."""
    for item in items:
        if SHARED_RUNS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="module", autouse=True)
def _pass_over_what_imports_left() -> None:
    """Takes what there is out of the garbage collector's sight. An engine that closes collects, and a pass over all of
    torch and transformers takes longer than many a test."""
    gc.collect()
    gc.freeze()


def play_once(session: pytest.TempPathFactory, name: str, play: Callable[[Path], None]) -> Path:
    """A run that is played by the first process of the session that needs it; the others wait, and read it."""
    base = session.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "shared_runs"
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / f"{name}.done").exists():
            play(folder / name)
            (folder / f"{name}.done").touch()
    return folder / name


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL of this session; skipped where Debian's package is not installed."""
    from tests.fakes.postgres_server import is_installed, serve_postgres

    if not is_installed():
        pytest.skip("PostgreSQL is not installed")
    with serve_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def feedback_place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for a store of feedback that holds nothing yet, of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "feedback.db")
    from tests.fakes.postgres_server import make_database

    return make_database(request.getfixturevalue("postgres"), f"d{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="session")
def golden_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The finished golden run of a name. It is read, or copied before it is changed."""
    from tests import golden

    return lambda name: play_once(tmp_path_factory, name, lambda folder: golden.play(name, folder))


@pytest.fixture(scope="session")
def aligned_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of iteralign: one iteration on the organism, with a benchmark of harmful prompts beside it, which
    lie in ``harmful.jsonl``. It is read, or copied before it is changed."""
    from charter import jobs, spec
    from charter.organism.world import World

    def play(folder: Path) -> None:
        harmful = folder.with_name("harmful.jsonl")
        texts = [p.text for p in World.load("village").prompts("harmful", "heldout")[:70]]
        harmful.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts), encoding="utf-8")
        benchmarks = json.dumps([{"name": "set", "judged": "harmlessness", "prompts": [{"path": str(harmful)}]}])
        changes = {
            "prompts.heldout": "12",
            "prompts.gate": "24",
            "options.measure.efficacy": "false",
            "options.measure.breadth": "false",
            "options.stop.iterations": "1",
            "benchmarks": benchmarks,
        }
        text = spec.list_recipes()["iteralign"].read_text(encoding="utf-8")
        jobs.launch_run(spec.change_spec(text, changes), folder)

    return play_once(tmp_path_factory, "aligned", play)
