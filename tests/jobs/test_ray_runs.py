"""A whole run on a Ray cluster, whose driver is really killed: resumed, it is the run of one process."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.fakes.warm_processes import run_charter, start_charter

pytestmark = pytest.mark.slow

CHANGES = {
    "method": "red_team",
    "prompts.heldout": "8",
    "prompts.gate": "8",
    "options.draw.batch": "24",
    "scale.temperature": "0.9",
}
RAY = {"executor.kind": "ray", "executor.batch": "2"}
APART = {"journal.jsonl", "HEAD", "report.html", "environment.json", "spec.yaml", ".lock"}


def contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file() and path.name not in APART)
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def test_a_run_on_a_cluster_whose_driver_is_killed_is_that_of_one_process(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = [word for key, value in CHANGES.items() for word in ("--set", f"{key}={value}")]
    assert run_charter("run", "iteralign", "--out", str(whole), "--quiet", *words)[0] == 0
    words += [word for key, value in RAY.items() for word in ("--set", f"{key}={value}")]
    child = start_charter("run", "iteralign", "--out", str(cut), "--quiet", *words)
    records = cut / "001/exchanges.jsonl"
    while child.is_alive() and not (records.exists() and records.read_bytes().count(b"\n") >= 4):
        time.sleep(0.01)
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert not (cut / "001/exchanges.seal.json").exists()
    assert run_charter("resume", str(cut), "--quiet")[0] == 0
    assert contents(cut) == contents(whole)
