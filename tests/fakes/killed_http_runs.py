"""Kills processes that talk to a server, at random moments, and lets others go on: the same run as one left in peace.

    python -m tests.fakes.killed_http_runs FOLDER URL N SEED      prints a JSON object

Children are forked from one warm process, so each costs little. The small run makes 48 calls or so."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from charter.models.engines.inspect_client import open_model
from charter.models.engines.remote_engine import RemoteEngine, RemoteOptions
from charter.reports.integrity import verify_run
from tests.fakes.scripted_run import begin, count_lines, play, substance


def child(directory: Path, url: str) -> int:
    """Starts a process that plays the run to its end; its id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        engine = RemoteEngine("m", RemoteOptions(base_url=url, first_wait=0.01, timeout=5, max_connections=4))
        with begin(directory) as run:
            play(run, engine)
        status = 0
    finally:
        os._exit(status)


def struck(directory: Path, url: str, at: int) -> bool:
    """Kills the run once so many lines are there; False where it ended before."""
    pid = child(directory, url)
    while count_lines(directory) < at:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            assert status == 0
            return False
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def campaign(folder: Path, url: str, n: int, seed: int) -> dict[str, Any]:
    """``n`` runs, each killed once or more and then left in peace."""
    open_model("m", url, "", 5, adaptive=False)  # loads the libraries before the forks
    peace, draw, hits, wrong = folder / "peace", random.Random(seed), 0, []
    assert os.waitpid(child(peace, url), 0)[1] == 0
    total = count_lines(peace)
    for number in range(n):
        directory = folder / f"run{number}"
        for _ in range(draw.choice((1, 2))):
            hits += struck(directory, url, draw.randint(2, total - 5))
        if os.waitpid(child(directory, url), 0)[1] != 0:
            wrong.append(f"{directory.name}: cannot go on")
        elif substance(directory) != substance(peace) or not verify_run(directory).ok:
            wrong.append(f"{directory.name}: another run than in peace")
    return {"runs": n, "kills": hits, "wrong": wrong}


if __name__ == "__main__":
    print(json.dumps(campaign(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
