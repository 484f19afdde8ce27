"""``python -m bench [N]``: runs the demo N times (default 5) and writes bench/RESULTS.md: time by stage, tokens,
memory.

Seconds are those of the processor, so that other work on the machine counts less. Every figure is given as median
(smallest to largest). Figures of different machines are not comparable; shares are."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench.page import ROOT, put

CHILD = """
import resource, sys
from bench.processor_clock import use_processor_time
from charter.cli import main
use_processor_time()
sys.argv = ["charter", "run", "iteralign", "--out", sys.argv[1], "--quiet", *sys.argv[2:]]
try:
    main()
except SystemExit as ended:
    if ended.code:
        raise
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def main(words: Sequence[str]) -> int:
    """Measures and writes the results."""
    times = int(words[0]) if words else 5
    with tempfile.TemporaryDirectory() as folder:
        runs = [measured(Path(folder) / str(number)) for number in range(times)]
    text = results(runs)
    put(text)
    print(text)
    return 0


def measured(directory: Path, *words: str) -> dict[str, float]:
    """One demo in a process of its own, from its journal: seconds, tokens a second, peak memory, and what was asked.
    ``words``: further ones of ``charter run``."""
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, str(directory), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    if ended.returncode != 0:
        raise RuntimeError(ended.stderr[-2000:])
    events = [json.loads(line) for line in (directory / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    found = {"peak memory, MiB": float(ended.stdout.split("peak ")[1]) / 1024, **timed(events, directory)}
    found |= counted(events, directory)
    shutil.rmtree(directory)
    return found


def counted(events: Sequence[Mapping[str, Any]], directory: Path) -> dict[str, float]:
    """What the target and the oracle were asked, and what was kept."""
    calls = {"target": 0, "oracle": 0}
    for event in events:
        if event["event"] == "answered":
            calls["target" if event["purpose"] == "target" else "oracle"] += event["calls"]
    lines = {path: path.read_bytes().count(b"\n") for path in directory.glob("*/*.jsonl")}
    return {
        "answers of the target": calls["target"],
        "calls of the oracle": calls["oracle"],
        "training rows": sum(count for path, count in lines.items() if path.name == "rows.jsonl"),
        "failures": sum(count for path, count in lines.items() if path.name == "findings.jsonl"),
        "records": sum(lines.values()),
    }


def timed(events: Sequence[Mapping[str, Any]], directory: Path) -> dict[str, float]:
    """Seconds by stage (all iterations together), and who spent them."""
    at = [datetime.fromisoformat(event["at"]).timestamp() for event in events]
    total = at[-1] - at[0]
    opened: dict[str, float] = {}
    stages: dict[str, float] = defaultdict(float)
    spent: dict[str, float] = defaultdict(float)
    tokens = 0
    for event, when in zip(events, at, strict=True):
        if event["event"] == "opened":
            opened[event["step"]] = when
        elif event["event"] == "sealed" and event["step"] in opened:
            stages[event["step"].split("/")[1]] += when - opened[event["step"]]
        elif event["event"] == "answered":
            spent["target" if event["purpose"] == "target" else "oracle"] += event["seconds"]
            tokens += event["tokens_out"] if event["purpose"] == "target" else 0
    trained = sum(
        len(f"{' '.join(m['content'] for m in row['messages'])} {row['response']}".split())
        for path in sorted(directory.glob("*/rows.jsonl"))
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())
    )
    tuning = stages["policy"]
    outside = total - spent["target"] - spent["oracle"] - tuning
    figures = {
        "whole run, s": total,
        "target model, s": spent["target"],
        "oracle, s": spent["oracle"],
        "tuning, s": tuning,
        "outside model, oracle and tuning, share": outside / total,
        "before the run begins, s (libraries and prompts; not counted above)": at[0],
        "generation, tokens/s": tokens / spent["target"],
        "training, words/s of rows (epochs counted)": 3 * trained / tuning if tuning else 0.0,
    }
    longest = sorted(stages, key=lambda name: -stages[name])[:12]
    return figures | {f"stage {name}, s": stages[name] for name in longest}


def results(runs: Sequence[Mapping[str, float]]) -> str:
    """The page: each figure's median and spread."""
    lines = [
        "# What the demo's time and memory go into",
        "",
        f"`make bench`: {len(runs)} runs of `charter run iteralign`, one thread each, Python "
        f"{platform.python_version()}, {os.cpu_count()} cores ({platform.machine()}). Seconds are those of the "
        "processor. Median (smallest to largest).",
        "",
        "| figure | median | spread |",
        "| --- | ---: | ---: |",
    ]
    for name in dict.fromkeys(key for run in runs for key in run):
        values = [run[name] for run in runs if name in run]
        lines.append(f"| {name} | {median(values):.3g} | {min(values):.3g} to {max(values):.3g} (n = {len(values)}) |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
