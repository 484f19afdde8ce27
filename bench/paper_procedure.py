"""``python -m bench.paper_procedure [SECONDS ...]``: the paper's procedure as its authors run it, beside charter.

Theirs is the recipe ``iteralign-paper``: batches of 20, a fully tuned model that is loaded anew for each batch, and
here one call of the oracle at a time. Ours is the recipe ``iteralign`` with many calls at once. Both play the demo's
task by turns against the village's oracle over HTTP, whose replies take so many seconds (default 0, 0.05 and 0.2)."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.child_server import serve_module
from bench.page import ROOT, put

AT_ONCE = 32
SIDES = {"the paper's": ("iteralign-paper", 1), "charter's": ("iteralign", AT_ONCE)}
"""The recipe of each side, and its calls at once."""
DELAYS = (0.0, 0.05, 0.2)
MEASURED = {"prompts.heldout": 60, "prompts.gate": 20}
"""Prompts of each kind: fewer than the demo has, so that measuring takes little of the time."""
METRICS = ("harmlessness", "retention", "over_refusal")


def main(words: Sequence[str]) -> int:
    """Plays both sides at each latency and writes the section."""
    delays = [float(word) for word in words] or DELAYS
    rows: list[tuple[float, str, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for delay in delays:
            with serve_module("charter.cli", "organism", "serve", "--delay", str(delay)) as url:
                for number, side in enumerate(SIDES):
                    rows.append((delay, side, play(side, url, Path(folder) / f"{delay}-{number}")))
                    print(rows[-1], flush=True)
    text = write_section(rows)
    put(text)
    print(text)
    return 0


def play(side: str, url: str, directory: Path) -> dict[str, Any]:
    """A run of one side: what ``charter show`` says of it, with the seconds of its processor."""
    recipe, at_once = SIDES[side]
    changes = {**MEASURED, "oracle.model": "village", "oracle.base_url": url, "oracle.connections": at_once}
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    before = _processor_seconds()
    ended = subprocess.run(
        [sys.executable, "-m", "charter.cli", "run", recipe, "--out", str(directory), "--quiet", "--json", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    if ended.returncode != 0:
        raise RuntimeError(ended.stderr[-2000:])
    return {**json.loads(ended.stdout), "processor": _processor_seconds() - before}


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write_section(rows: Sequence[tuple[float, str, dict[str, Any]]]) -> str:
    """The section: seconds, their ratio at each latency, calls, and held-out scores before and after."""
    head = ("latency, ms", "procedure", "seconds", "its processor's", "times as fast", "oracle calls", *METRICS)
    lines = [
        "# The paper's procedure as its authors run it",
        "",
        f"`python -m bench.paper_procedure`: both by turns, one run each; {os.cpu_count()} cores, load of the machine "
        f"at the end {os.getloadavg()[0]:.1f}. The paper's: one call of the oracle at a time; "
        f"charter's: {AT_ONCE}. Scores are of held-out prompts, before → after.",
        "",
        f"| {' | '.join(head)} |",
        "| ---: | --- | ---: | ---: | ---: | ---: |" + " ---: |" * len(METRICS),
    ]
    theirs = {delay: found["seconds"] for delay, side, found in rows if side == "the paper's"}
    for delay, side, found in rows:
        ratio = f"{theirs[delay] / found['seconds']:.2f}"
        calls = found["oracle"]["calls"] + found["oracle"]["calls_measuring"]
        scores = [f"{found['before'][m]['value']:.1%} → {found['after'][m]['value']:.1%}" for m in METRICS]
        cells = [f"{1000 * delay:.0f}", side, f"{found['seconds']:.0f}", f"{found['processor']:.0f}", ratio, str(calls)]
        lines.append("| " + " | ".join([*cells, *scores]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
