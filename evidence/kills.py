"""Real kills of real runs on the organism, in every phase, and what they leave: the same run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from charter.runs.store import file_digest, read_head
from evidence.cells import ROOT, Cell, charter, done, kept

CHANGES = {
    "prompts.heldout": "20",
    "prompts.gate": "20",
    "options.draw.batch": "60",
    "options.measure.efficacy": "false",
    "options.stop.iterations": "1",
    "oracle.errors.delay": "0.005",
}
STEPS = {
    "generation": ("001/exchanges", "001/critiques", "001/revisions", "001/answers"),
    "judging": ("001/verdicts", "001/rechecks", "001/helps", "001/checks"),
    "tuning": ("001/policy",),
    "sealing": ("001/exchanges", "001/clusters", "001/kept", "001/policy"),
    "results": ("constitution.yaml", "report.html", "outcome.json", "HEAD"),
}


def kills() -> dict[str, Any]:
    """Four SIGKILLs in each of five phases and two SIGINTs; each run is resumed to its end and compared with an
    unkilled one."""
    whole = Cell("kills/whole", changes=CHANGES)
    done(whole)
    asked = [(phase, number, signal.SIGKILL) for phase in STEPS for number in range(4)]
    asked += [("generation", number, signal.SIGINT) for number in range(2)]
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda one: _kept(one[0], one[1], one[2], whole), asked))
    good = sum(r["killed"] and r["same run"] and r["verified"] for r in rows)
    targets = [
        {"what": "kills that leave the same run", "target": f"{len(rows)}", "seen": [good], "met": good == len(rows)}
    ]
    return {"rows": rows, "targets": targets}


def _kept(phase: str, number: int, how: signal.Signals, whole: Cell) -> dict[str, Any]:
    return kept(f"kills/{how.name.lower()}-{phase}-{number}", lambda: _row(phase, number, how, whole))


def _row(phase: str, number: int, how: signal.Signals, whole: Cell) -> dict[str, Any]:
    place = STEPS[phase][number % len(STEPS[phase])]
    cell = Cell(f"kills/{how.name.lower()}-{phase}-{number}", changes=CHANGES)
    shutil.rmtree(cell.directory, ignore_errors=True)
    hit = killed(cell, moment(phase, cell.directory, place, random.Random(number)), how)
    left = len(list(cell.directory.rglob("*.seal.json")))
    resumed = charter("resume", str(cell.directory), "--quiet")
    verified = charter("verify", str(cell.directory))
    same = contents(cell.directory) == contents(whole.directory)
    return {
        "name": cell.name, "phase": phase, "signal": how.name, "at": place, "killed": hit, "sealed steps left": left,
        "resumed": resumed.returncode == 0, "verified": verified.returncode == 0, "same run": same,
    }  # fmt: skip


def contents(directory: Path) -> dict[str, str]:
    """Digest of every file that must be equal between equal runs: all but journal, HEAD, report and environment."""
    apart = {"journal.jsonl", "HEAD", "report.html", "environment.json", ".lock"}
    out = {
        str(path.relative_to(directory)): file_digest(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in apart
    }
    head = read_head(directory)
    return out | {"records": head.records if head is not None else "no HEAD"}


def moment(phase: str, directory: Path, place: str, chance: random.Random) -> Callable[[], bool]:
    """When to kill: in the middle of a step, just as a seal lands, or just as a result lands."""
    if phase == "results":
        return lambda: (directory / place).exists()
    if phase == "sealing":
        return lambda: (directory / f"{place}.seal.json").exists()
    if phase == "tuning":
        wait = chance.uniform(0.2, 2.0)
        return wait_since(wait, lambda: (directory / place).is_dir())
    records, least = directory / f"{place}.jsonl", chance.randint(1, 8)
    return lambda: records.exists() and records.read_bytes().count(b"\n") >= least


def wait_since(seconds: float, begun: Callable[[], bool]) -> Callable[[], bool]:
    """A moment this many seconds after ``begun`` holds for the first time."""
    since: list[float] = []

    def moment() -> bool:
        if not since and begun():
            since.append(time.monotonic())
        return bool(since) and time.monotonic() - since[0] > seconds

    return moment


def killed(cell: Cell, moment: Callable[[], bool], how: signal.Signals) -> bool:
    """Starts the run and really kills it at the moment. False where it ended before."""
    words = [word for key, value in cell.changes.items() for word in ("--set", f"{key}={value}")]
    child = subprocess.Popen(
        [sys.executable, "-m", "charter.cli", "run", cell.recipe, "--out", str(cell.directory), "--quiet", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # also if ignored here
    )
    while child.poll() is None and not moment():
        time.sleep(0.0005)
    running = child.poll() is None
    child.send_signal(how)
    return child.wait() in (-how, 130) and running
