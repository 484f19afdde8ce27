"""Kills real processes while they make, rate and settle a queue, and lets several rate at once.

    python -m tests.fakes.killed_reviews rate|create|race FOLDER      prints a JSON object

Children are forked from one warm process. A child tells by a pipe what it was told is taken down.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from charter.errors import CharterError
from charter.jobs.review_desk import Answer, Rater, ReviewDesk
from charter.reports.integrity import verify_run
from tests.fakes.killed_runs import Trap
from tests.fakes.reviewed_runs import make_queue, record_run

RATERS = ("ada", "bo", "cy", "di")
MODES = ("before", "half", "after")
Tell = Callable[[str], None]


def fork(work: Callable[[Tell], None], trap: Trap | None = None) -> tuple[int, int]:
    """Starts a child that does the work; its id, and the pipe by which it tells."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    status = 1
    try:
        if trap is not None:
            trap.set()
        work(lambda word: (os.write(writing, f"{word}\n".encode()), None)[1])
        status = 0
    finally:
        os._exit(status)


def wait(pid: int, reading: int) -> tuple[int, list[str]]:
    """How a child ended, and what it told."""
    with os.fdopen(reading) as stream:
        told = stream.read().split()
    return os.waitpid(pid, 0)[1], told


def rate(directory: Path, rater: str, pause: float = 0.0, killed_after: int = -1) -> Callable[[Tell], None]:
    """Labels until nothing is left, or until it is killed with the next item in hand."""

    def work(tell: Tell) -> None:
        with ReviewDesk(directory, "q1") as desk:
            for number in itertools.count():
                item = desk.take_item(Rater(rater))
                if item is None:
                    return
                if number == killed_after:
                    os.kill(os.getpid(), signal.SIGKILL)
                label = desk.submit_label(Rater(rater), Answer(item.id, "harmful", comment="as I see it"))
                tell(label.id)
                time.sleep(pause)

    return work


def make(directory: Path) -> Callable[[Tell], None]:
    """Makes a queue."""
    return lambda tell: tell(make_queue(directory, count=2).id)


def read_labels(directory: Path) -> dict[str, tuple[str, str]]:
    """Item and rater of each label, by its id."""
    with ReviewDesk(directory, "q1") as desk:
        said = desk.read_board().labels
    return {label.id: (item, rater) for item, labels in said.items() for rater, label in labels.items()}


def find_wrong(directory: Path, told: list[str]) -> list[str]:
    """What is not as it must be: damage, a label that was acknowledged and is not there, or one that stands twice."""
    wrong = [str(fault) for fault in verify_run(directory).faults]
    if wrong:
        return wrong
    kept = read_labels(directory)
    wrong += [f"{label} was acknowledged and is lost" for label in told if label not in kept]
    wrong += [f"{len(kept)} labels, {len(told)} acknowledged"] if not len(told) <= len(kept) <= len(told) + 1 else []
    return wrong


def kill_raters(folder: Path) -> dict[str, Any]:
    """A rater is killed at each moment that changes the disk, before, within and after it; then goes on to the end."""
    source = record_run(folder / "source")
    make_queue(source, count=3)
    wrong, hits, at = list[str](), 0, 0
    while True:
        at += 1
        statuses = []
        for mode in MODES:
            directory = Path(shutil.copytree(source, folder / f"{at}-{mode}"))
            status, told = wait(*fork(rate(directory, "ada"), Trap(at=at, mode=mode)))
            statuses.append(status)
            wrong += [f"{at} {mode}: {what}" for what in find_wrong(directory, told)]
            status, more = wait(*fork(rate(directory, "ada")))
            complete = len({item for item, _ in read_labels(directory).values()}) == 3
            if status or not complete or verify_run(directory).notes:
                wrong.append(f"{at} {mode}: it does not go on to the end, status {status}")
            wrong += [f"{at} {mode}: {what}" for what in find_wrong(directory, [*told, *more])]
            shutil.rmtree(directory)
        hits += sum(map(os.WIFSIGNALED, statuses))
        if statuses == [0, 0, 0]:
            return {"moments": at - 1, "kills": hits, "wrong": wrong}


def kill_makers(folder: Path) -> dict[str, Any]:
    """Whoever makes a queue is killed at each moment; then it is made again, under the same name or the next."""
    source, wrong, at, hits = record_run(folder / "source"), list[str](), 0, 0
    while True:
        at += 1
        statuses = []
        for mode in MODES:
            directory = Path(shutil.copytree(source, folder / f"{at}-{mode}"))
            trap = Trap(at=at, mode=mode)
            statuses.append(wait(*fork(make(directory), trap))[0])
            if not verify_run(directory).ok and statuses[-1]:
                torn = [f.what for f in verify_run(directory).faults]
                wrong += [f"{at} {mode}: {torn}"] if torn != ["bytes after the last newline"] else []
            try:
                made = make_queue(directory, count=2)
                wrong += [] if verify_run(directory, strict=True).ok else [f"{at} {mode}: {made.id} is not whole"]
            except CharterError as error:
                wrong.append(f"{at} {mode}: {error}")
            shutil.rmtree(directory)
        hits += sum(map(os.WIFSIGNALED, statuses))
        if statuses == [0, 0, 0]:
            return {"moments": at - 1, "kills": hits, "wrong": wrong}


def race(folder: Path) -> dict[str, Any]:
    """Four raters at once on items for two; one of them is killed in the middle and comes again."""
    directory = record_run(folder / "run", count=30)
    make_queue(directory, raters=2)
    children = {rater: fork(rate(directory, rater, 0.001, 3 if rater == "ada" else -1)) for rater in RATERS}
    ended = {rater: wait(*child) for rater, child in children.items()}
    ended["again"] = wait(*fork(rate(directory, "ada")))
    kept, told = read_labels(directory), [label for _, labels in ended.values() for label in labels]
    said = list(kept.values())
    wrong = find_wrong(directory, told)
    wrong += ["a label stands twice"] if len(set(told)) < len(told) or len(set(said)) < len(said) else []
    counts = sorted(sum(item == one for one, _ in said) for item in {item for item, _ in said})
    statuses = {rater: os.waitstatus_to_exitcode(status) for rater, (status, _) in ended.items()}
    shares = {rater: sum(name == rater for _, name in said) for rater in RATERS}
    return {"wrong": wrong, "items": len(counts), "raters": sorted(set(counts)), "ended": statuses, "shares": shares}


if __name__ == "__main__":
    what, where = sys.argv[1:]
    print(json.dumps({"rate": kill_raters, "create": kill_makers, "race": race}[what](Path(where))))
