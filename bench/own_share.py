"""How much of a run's time is charter's own, outside model, oracle and tuning.

``python -m bench.own_share [SPEC --set KEY=VALUE ...]``; without a spec, the demo. The run is made in this process.
A timer of the processor's seconds notes every 2 ms what is at work. A note counts for the first of these that its stack
has: tuning, the model (its engine, and the libraries that load it), the oracle; else it is charter's own."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

SECONDS = 0.002
PARTS = {
    "tuning": ("charter/models/tuners/", "/trl/", "/peft/"),
    "model": ("charter/models/engines/", "charter/models/weights", "/torch/", "/transformers/", "/safetensors/"),
    "oracle": ("charter/organism/oracle", "charter/models/engines/remote"),
}
"""The files that a part's stacks have."""
OWN = "charter's own"
FUNCTIONS = 25
"""So many are shown."""


class StackSamples:
    """Counts what is at work, by part, and charter's own by the function of charter that is nearest."""

    def __init__(self) -> None:
        self.parts: Counter[str] = Counter()
        self.own: Counter[str] = Counter()

    def note(self, _signal: int, frame: FrameType | None) -> None:
        """A handler of the timer's signal."""
        stack: list[tuple[str, str]] = []
        while frame is not None:
            stack.append((frame.f_code.co_filename, frame.f_code.co_qualname))
            frame = frame.f_back
        part = next((part for part, marks in PARTS.items() if any(m in file for file, _ in stack for m in marks)), OWN)
        self.parts[part] += 1
        if part == OWN:
            mine = (f"{file.split('/charter/')[-1]} {name}" for file, name in stack if "/src/charter/" in file)
            self.own[next(mine, "imports and Python")] += 1


def measure_run(words: Sequence[str]) -> tuple[StackSamples, float]:
    """The samples of one run, and its processor seconds."""
    samples = StackSamples()
    signal.signal(signal.SIGPROF, samples.note)
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SECONDS, SECONDS)
        try:
            from charter.cli import main

            main(["run", *words, "--out", str(Path(folder) / "run"), "--quiet"])
        except SystemExit:
            pass
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        return samples, time.process_time() - began


def show_shares(found: StackSamples, seconds: float) -> None:
    """Prints the parts, and where most of charter's own time goes."""
    total = sum(found.parts.values())
    print(f"{seconds:.1f} processor seconds")
    for part, count in found.parts.most_common():
        print(f"{part:16} {count / total:6.1%} {count / total * seconds:7.2f} s")
    for name, count in found.own.most_common(FUNCTIONS):
        print(f"   {count / total * seconds:6.2f} s  {name}")


if __name__ == "__main__":
    show_shares(*measure_run(sys.argv[1:] or ["iteralign"]))
