"""``executor: ray`` against one process, on the organism: the same records, whoever is killed. Workers, a node and the
driver are really lost, in the middle of steps."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from evidence.cells import ROOT, Cell, charter, done, kept
from evidence.kills import CHANGES, contents, killed

SMALL = {**CHANGES, "method": "red_team"}
RAY = {"executor.kind": "ray", "executor.workers": "2", "executor.batch": "4"}
GENERATING = ("001/exchanges", "001/critiques", "001/revisions", "001/answers")
WORKER_RUNS, WORKER_LOSSES, DRIVER_LOSSES, NODE_LOSSES = 4, 3, 10, 10
"""Runs that lose workers, and how many each loses in each step that generates; drivers killed; nodes removed. More
workers in one step might end one call twice, which is that call's error."""
NODE_STORE = 80 << 20


def executor() -> dict[str, Any]:
    """Equal records greedy and sampled, of red teaming and of a whole iteration; and losses."""
    rows = []
    for temperature in ("0.0", "0.9"):
        rows.append(compare(f"red_team at temperature {temperature}", SMALL | {"scale.temperature": temperature}))
    losses = [kept(f"executor/workers-{n}", partial(_lose_workers, n)) for n in range(WORKER_RUNS)]
    losses += [kept(f"executor/driver-{n}", partial(_lose_driver, n)) for n in range(DRIVER_LOSSES)]
    losses += [kept(f"executor/node-{n}", partial(_lose_node, n)) for n in range(NODE_LOSSES)]
    equal, same = sum(row["same run"] for row in rows), sum(loss["same run"] for loss in losses)
    lost = sum(loss["lost"] for loss in losses)
    targets = [
        {"what": "same run as in one process", "target": f"{len(rows)}", "seen": [equal], "met": equal == len(rows)},
        {"what": "runs with losses that leave the same run", "target": f"{len(losses)}", "seen": [same],
         "met": same == len(losses)},
        {"what": "processes and nodes lost", "target": "at least 60", "seen": [lost], "met": lost >= 60},
    ]  # fmt: skip
    return {"rows": rows, "losses": losses, "targets": targets}


def compare(name: str, changes: dict[str, str], recipe: str = "iteralign", **more: str) -> dict[str, Any]:
    """A run in one process and on two workers, as a line. ``more``: what is changed on the cluster alone, with two
    underscores for each dot."""
    placed = {word.replace("__", "."): value for word, value in more.items()}
    one = Cell(name_cell(name, "process"), recipe, changes)
    many = Cell(name_cell(name, "ray"), recipe, changes | RAY | placed)
    times = {}
    for cell in (one, many):
        times[cell.name] = done(cell)["seconds"]
    records = sum(path.read_bytes().count(b"\n") for path in one.directory.glob("0*/*.jsonl"))
    return {
        "name": name, "records": records, "same run": is_same(many.directory, one.directory),
        "seconds in process": times[one.name], "seconds on ray": times[many.name],
    }  # fmt: skip


def name_cell(name: str, kind: str) -> str:
    """The cell of a run of ``compare``: in the ``process``, or on ``ray``."""
    return f"executor/{name.replace(' ', '-')}-{kind}"


def place(name: str, kind: str) -> Path:
    """Where that run is kept."""
    return Cell(name_cell(name, kind)).directory


def is_same(found: Path, expected: Path) -> bool:
    """Whether two runs are equal but for their specs, which name the executor."""
    first, second = contents(found), contents(expected)
    return {k: v for k, v in first.items() if k != "spec.yaml"} == {k: v for k, v in second.items() if k != "spec.yaml"}


def _lose_workers(number: int) -> dict[str, Any]:
    """A whole iteration, in whose every generating step workers are killed."""
    whole = Cell("executor/iteration-process", changes=CHANGES)
    done(whole)
    cell = Cell(f"executor/iteration-ray-{number}", changes=CHANGES | RAY)
    shutil.rmtree(cell.directory, ignore_errors=True)
    lost: dict[str, int] = dict.fromkeys(GENERATING, 0)
    chance, last = random.Random(7 + number), {step: 0 for step in GENERATING}
    with running(cell) as child:
        while child.poll() is None:
            for step in GENERATING:
                count = count_lines(cell.directory / f"{step}.jsonl")
                sealed = (cell.directory / f"{step}.seal.json").exists()
                if not sealed and lost[step] < WORKER_LOSSES and count > last[step] + 5:
                    last[step] = count
                    workers = list_workers(child.pid)
                    if workers:
                        os.kill(chance.choice(workers), signal.SIGKILL)
                        lost[step] += 1
            time.sleep(0.01)
    return _row("workers killed in an iteration", cell, whole, sum(lost.values())) | {"by step": lost}


def _lose_driver(number: int) -> dict[str, Any]:
    """The process of the run itself is killed, and the run resumed."""
    whole = Cell("executor/red_team-at-temperature-0.9-process", changes=SMALL | {"scale.temperature": "0.9"})
    cell = Cell(f"executor/driver-{number}", changes=whole.changes | RAY)
    shutil.rmtree(cell.directory, ignore_errors=True)
    records, least = cell.directory / "001/exchanges.jsonl", 6 + 4 * number
    hit = killed(cell, lambda: count_lines(records) >= least, signal.SIGKILL)
    return _row(f"driver killed after {least} records", cell, whole, int(hit))


def _lose_node(number: int) -> dict[str, Any]:
    """A node of a cluster of three is removed while the step is at work."""
    from ray.cluster_utils import Cluster

    whole = Cell("executor/red_team-at-temperature-0.9-process", changes=SMALL | {"scale.temperature": "0.9"})
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": NODE_STORE})
    try:
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=NODE_STORE) for _ in range(3)]
        changes = whole.changes | RAY | {"executor.address": cluster.address, "executor.workers": "3"}
        cell, lost = Cell(f"executor/node-{number}", changes=changes), 0
        shutil.rmtree(cell.directory, ignore_errors=True)
        with running(cell) as child:
            while child.poll() is None:
                if not lost and count_lines(cell.directory / "001/exchanges.jsonl") > 5 + 4 * number:
                    cluster.remove_node(nodes[number % 3], allow_graceful=False)
                    lost = 1
                time.sleep(0.01)
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
    return _row("a node removed", cell, whole, lost)


def _row(name: str, cell: Cell, whole: Cell, lost: int) -> dict[str, Any]:
    resumed = charter("resume", str(cell.directory), "--quiet")
    verified = charter("verify", str(cell.directory))
    return {
        "name": name, "lost": lost, "resumed": resumed.returncode == 0, "verified": verified.returncode == 0,
        "same run": is_same(cell.directory, whole.directory),
    }  # fmt: skip


def count_lines(path: Path) -> int:
    """Whole lines of a file so far."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def list_workers(pid: int) -> list[int]:
    """The processes below ``pid`` that hold a copy of the model."""
    below = psutil.Process(pid).children(recursive=True)
    found = []
    for process in below:
        try:
            if "ReplicaWorker" in " ".join(process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@contextmanager
def running(cell: Cell) -> Iterator[subprocess.Popen[bytes]]:
    """The run of a cell as a process, which is ended with the block where it is still at work."""
    words = [word for key, value in cell.changes.items() for word in ("--set", f"{key}={value}")]
    child = subprocess.Popen(
        [sys.executable, "-m", "charter.cli", "run", cell.recipe, "--out", str(cell.directory), "--quiet", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
        child.wait()
