"""Kills processes while the calls of the next step are made ahead, and lets others go on: the same run, nothing twice.

    python -m tests.fakes.killed_overlaps FOLDER N      prints a JSON object

Children are forked from one warm process. Each writes what its judge was asked into a file of its own, so that what is
paid is known whatever the run keeps."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import Request
from charter.reports.integrity import verify_run
from charter.runs import NextStep
from charter.runs.store import read_lines
from tests.fakes.overlapping_engine import OverlappingEngine
from tests.fakes.scripted_run import WORDS, begin, count_lines, probe, reflect, reply, substance

SECONDS = 0.004
"""How long an answer takes, of either model."""


def play(directory: Path, paid: Path, overlap: bool) -> None:
    """The run to its end. Each request of the judge is a line of ``paid``."""

    def slow(request: Request) -> str:
        time.sleep(SECONDS)
        return reply(request)

    with paid.open("a") as stream, begin(directory) as run:

        def tell(request: Request) -> None:
            stream.write(f"{request.id}\n")
            stream.flush()

        judge = run.meter_engine(OverlappingEngine(SECONDS, tell), "judge", "aligning")
        target = run.meter_engine(ScriptedEngine(slow), "target", "target")
        for number in range(2):
            steps = run.steps(f"{number:03d}")
            then = NextStep("verdicts", reflect, judge) if overlap else None
            words = [word.model_copy(update={"id": f"{number}{word.id}"}) for word in WORDS]
            answers = steps.map("answers", probe, words, target, then=then)
            steps.map("verdicts", reflect, answers, judge)
        run.finish()


def child(directory: Path, paid: Path) -> int:
    """Starts a process that plays the run to its end; its id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        play(directory, paid, overlap=True)
        status = 0
    finally:
        os._exit(status)


def written_answers(directory: Path) -> set[str]:
    """The requests whose answers are on the disk ahead of their step."""
    files = (directory / ".ahead").rglob("*.jsonl")
    return {json.loads(line)["answer"]["id"] for path in files for line in read_lines(path).lines}


def strike(directory: Path, paid: Path, at: int) -> tuple[bool, set[str]]:
    """Kills the run when so many lines are there: whether it was at work, and the answers that were on the disk."""
    pid = child(directory, paid)
    while count_lines(directory) < at:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False, written_answers(directory)
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    return killed, written_answers(directory)


def campaign(folder: Path, n: int) -> dict[str, Any]:
    """``n`` runs, each killed up to three times and then left in peace."""
    play(folder / "peace", folder / "peace.txt", overlap=False)
    total = count_lines(folder / "peace")
    draw, kills, ahead, wrong = random.Random(n), 0, 0, list[str]()
    for number in range(n):
        directory = folder / f"run{number}"
        for strike_number in range(draw.choice((1, 2, 3))):
            before = folder / f"run{number}.{strike_number}.txt"
            killed, kept = strike(directory, before, draw.randint(2, total))
            kills, ahead = kills + killed, ahead + len(kept)
        last = folder / f"run{number}.last.txt"
        if os.waitpid(child(directory, last), 0)[1] != 0:
            wrong.append(f"{directory.name}: cannot go on")
        elif substance(directory) != substance(folder / "peace") or not verify_run(directory, strict=True).ok:
            wrong.append(f"{directory.name}: another run than in peace")
        else:
            again = kept & set(last.read_text().split())
            wrong += [f"{directory.name}: {id} was paid twice" for id in sorted(again)]
    return {"runs": n, "kills": kills, "ahead": ahead, "wrong": wrong}


if __name__ == "__main__":
    print(json.dumps(campaign(Path(sys.argv[1]), int(sys.argv[2]))))
