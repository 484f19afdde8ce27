"""Cells: single runs of the command line, each resumable, two at a time, read back through ``charter show --json``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs" / "evidence"


@dataclass(frozen=True)
class Cell:
    """One run: a name, a recipe, and changes to its spec."""

    name: str
    recipe: str = "iteralign"
    changes: dict[str, str] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """Where the run is kept."""
        return RUNS / self.name


def charter(*words: str) -> subprocess.CompletedProcess[str]:
    """A command of charter in a process of its own, one thread, errors kept."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    return subprocess.run(
        [sys.executable, "-m", "charter.cli", *words],
        capture_output=True, text=True, env=environment, cwd=ROOT, check=False,
    )  # fmt: skip


def done(cell: Cell) -> dict[str, Any]:
    """The figures of a cell; runs it, or goes on with it, where it is not finished. Raises RuntimeError."""
    changes = [word for key, value in cell.changes.items() for word in ("--set", f"{key}={value}")]
    ended = charter("run", cell.recipe, "--out", str(cell.directory), "--quiet", *changes)
    if ended.returncode != 0:
        raise RuntimeError(f"{cell.name}: {ended.stderr.strip()[-2000:]}")
    shown = charter("show", str(cell.directory), "--json")
    if shown.returncode != 0:
        raise RuntimeError(f"{cell.name}: {shown.stderr.strip()[-2000:]}")
    figures: dict[str, Any] = json.loads(shown.stdout)
    print(f"  {cell.name}: {brief(figures)}", flush=True)
    return figures


def all_done(cells: Sequence[Cell], at_once: int = 2) -> dict[str, dict[str, Any]]:
    """Every cell's figures, by name."""
    with ThreadPoolExecutor(at_once) as pool:
        return dict(zip((c.name for c in cells), pool.map(done, cells), strict=True))


def kept(name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured before under this name, or measured now and kept beside the runs: a claim goes on where it
    stopped. Remove ``runs/evidence`` to measure anew."""
    path = RUNS / f"{name}.row.json"
    if not path.exists():
        found = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(found), encoding="utf-8")
        fresh.replace(path)
        print(f"  {name}: {found}", flush=True)
    measured: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return measured


def value(figures: dict[str, Any], metric: str, when: str = "after") -> float | None:
    """A held-out score, before or after."""
    found = (figures.get(when) or {}).get(metric)
    return None if found is None else found["value"]


def brief(figures: dict[str, Any]) -> str:
    """The scores before and after in one line, with oracle calls and seconds."""
    parts = []
    for metric in ("harmlessness", "honesty", "retention", "helpfulness", "over_refusal", "over_refusal_borderline"):
        before, after = value(figures, metric, "before"), value(figures, metric)
        if before is not None and after is not None:
            parts.append(f"{metric} {before:.3f}->{after:.3f}")
    calls = figures["oracle"]
    return f"{', '.join(parts)}; {calls['calls']}+{calls['calls_measuring']} calls, {figures['seconds']:.0f} s"


def records(cell: Cell, step: str) -> list[dict[str, Any]]:
    """The records of a step of a finished cell; none where the run has no such step."""
    path = cell.directory / f"{step}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def folders(cell: Cell) -> list[str]:
    """The iterations of a finished cell that have kept revisions."""
    return sorted(p.parent.name for p in cell.directory.glob("[0-9][0-9][0-9]/kept.jsonl"))
