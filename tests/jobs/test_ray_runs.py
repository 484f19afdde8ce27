"""A whole run on a Ray cluster, whose driver is really killed: resumed, it is the run of one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CHANGES = {
    "method": "red_team",
    "prompts.heldout": "8",
    "prompts.gate": "8",
    "options.draw.batch": "24",
    "scale.temperature": "0.9",
}
RAY = {"executor.kind": "ray", "executor.batch": "2"}
APART = {"journal.jsonl", "HEAD", "report.html", "environment.json", "spec.yaml", ".lock"}


def start(*words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "charter.cli", *words, "--quiet"], cwd=ROOT, env=environment)


def contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file() and path.name not in APART)
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def test_a_run_on_a_cluster_whose_driver_is_killed_is_that_of_one_process(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = [word for key, value in CHANGES.items() for word in ("--set", f"{key}={value}")]
    assert start("run", "iteralign", "--out", str(whole), *words).wait() == 0
    words += [word for key, value in RAY.items() for word in ("--set", f"{key}={value}")]
    child, records = start("run", "iteralign", "--out", str(cut), *words), cut / "001/exchanges.jsonl"
    while child.poll() is None and not (records.exists() and records.read_bytes().count(b"\n") >= 4):
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not (cut / "001/exchanges.seal.json").exists()
    assert start("resume", str(cut)).wait() == 0
    assert contents(cut) == contents(whole)
