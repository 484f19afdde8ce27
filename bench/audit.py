"""``python -m bench.audit RUN [N]``: audits a finished run against itself N times (default 3), each in a process of its
own, both sides asked, with a battery of at least 600 prompts; writes its section of bench/RESULTS.md."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.page import ROOT, put

LEAST = 600


def charter(*words: str) -> None:
    """A command in a process of its own, two threads."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "false"}
    ended = subprocess.run(
        [sys.executable, "-m", "charter.cli", *words], env=environment, cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if ended.returncode > 2:
        raise RuntimeError(ended.stderr[-2000:])


def measured(run: Path, battery: Path, out: Path) -> tuple[float, float]:
    """Seconds by the clock and of CPU that one audit takes, its start included."""
    began, spent = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    charter("audit", str(run), "--baseline", str(run), "--battery", str(battery), "--out", str(out), "--quiet")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - began, after.ru_utime + after.ru_stime - spent.ru_utime - spent.ru_stime


def main(words: Sequence[str]) -> int:
    """Measures and writes the section."""
    run, times = Path(words[0]).resolve(), int(words[1]) if len(words) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        battery = Path(folder) / "battery.json"
        charter("battery", str(run), "--out", str(battery), "--own", "10", "--fresh", "20", "--prompts", "55")
        prompts = len(json.loads(battery.read_text(encoding="utf-8"))["probes"])
        assert prompts >= LEAST, f"a battery of {prompts} prompts"
        seconds = [measured(run, battery, Path(folder) / str(number)) for number in range(times)]
    lines = [
        "# What an audit takes",
        "",
        f"`python -m bench.audit RUN`: `charter audit` of the demo organism against itself, {prompts} prompts, both "
        f"sides asked; its start and its report are counted; {os.cpu_count()} cores ({platform.machine()}), load "
        f"{os.getloadavg()[0]:.0f}.",
        "",
        "| figure | median | spread |",
        "| --- | ---: | ---: |",
    ]
    for name, values in zip(("seconds by the clock", "CPU seconds"), zip(*seconds, strict=True), strict=True):
        lines.append(f"| {name} | {median(values):.3g} | {min(values):.3g} to {max(values):.3g} (n = {len(values)}) |")
    put("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
