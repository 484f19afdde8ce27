"""What the parts of ``bench.real_speed`` share: the model, prompts as people wrote them, and ways set side by side."""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from charter.data.sources.source_prompts import SourcePrompts
from charter.models import weights
from charter.records.chat import Prompt
from charter.records.model_refs import ModelRef
from charter.spec import SourceSpec

HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
FILES = {
    "harmfulqa": "harmfulqa/harmfulqa.json",
    "self-instruct": "self_instruct/seed_tasks.jsonl",
    "hh-rlhf": "hh_rlhf/harmless-base/test.jsonl.gz",
    "xstest": "xstest/xstest_prompts.csv",
}
Seconds = tuple[float, float]
"""By the clock, and of the processors."""


def load_reference() -> ModelRef:
    """The model: of the folder, or of the hub."""
    folder = os.environ.get("CHARTER_MODELS", "")
    return weights.resolve_model(str(Path(folder) / "smollm2") if folder else HUB, offline=bool(folder))


def draw_prompts(data: Path, count: int) -> list[Prompt]:
    """So many prompts, as many of each file, in an order of their own."""
    found = []
    for name, file in FILES.items():
        rows = list(SourcePrompts(SourceSpec.model_validate({"name": name, "path": str(data / file)})).prompts())
        found += random.Random(0).sample(rows, -(-count // len(FILES)))
    random.Random(1).shuffle(found)
    return found[:count]


def clock(work: Callable[[], Any]) -> tuple[Any, Seconds]:
    """What comes of it, and how long it took."""
    gc.collect()
    began, spent = time.monotonic(), time.process_time()
    found = work()
    return found, (time.monotonic() - began, time.process_time() - spent)


def compare(ways: dict[str, Callable[[], int]], rounds: int, unit: str, elsewhere: str = "") -> list[str]:
    """A table: each way's units a second, by the clock and of the processors, and how often the first way is faster.
    ``elsewhere``: the way whose work is done by another process, so that its processors' time is not seen."""
    seen: dict[str, list[Seconds]] = {name: [] for name in ways}
    units: dict[str, int] = {}
    for _ in range(rounds):
        for name, work in ways.items():
            units[name], spent = clock(work)
            seen[name].append(spent)
            print(
                f"# {name}: {units[name]} {unit}, {spent[0]:.1f} s, {spent[1]:.1f} s of CPU",
                file=sys.stderr,
                flush=True,
            )
    rates = {name: [units[name] / median(one[n] for one in seen[name]) for n in (0, 1)] for name in ways}
    first = next(iter(rates.values()))
    rows = [
        f"| {name} | {units[name]:,} | {wall:.2f} | {seen_cpu} | {first[0] / wall:.2f} | {share} |"
        for name, (wall, cpu) in rates.items()
        for seen_cpu, share in [("–", "–") if name == elsewhere else (f"{cpu:.2f}", f"{first[1] / cpu:.2f}")]
    ]
    head = f"| way | {unit} | a second | a CPU second | the first is faster by | by CPU seconds |"
    return [head, "| --- | ---: | ---: | ---: | ---: | ---: |", *rows]


class PeakMemory:
    """The most memory that this process takes meanwhile, in GiB beyond what it has at the beginning."""

    gib = 0.0

    def __enter__(self) -> PeakMemory:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak so far is forgotten
        self._before = read_status("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.gib = (read_status("VmHWM") - self._before) / 2**20


def read_status(name: str) -> int:
    """Kibibytes of this process, as the kernel names them."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def describe_run(asked: argparse.Namespace) -> str:
    """Where figures were taken."""
    import torch

    cores = f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} threads of torch {torch.__version__.split('+')[0]}"
    load = f"{os.getloadavg()[0]:.1f}"
    return f"SmolLM2-135M-Instruct in float32; {cores}; load of the machine at the end {load}; rounds: {asked.rounds}."
