"""``python -m bench.overlap [N [SECONDS ...]]``: red teaming with `oracle.overlap` on and off by turns, N times each.

Target and oracle answer over HTTP, each after so many seconds (default 0.2 and 5). N is 3 where it is not given."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import yaml

from bench.child_server import serve_module
from bench.page import put
from charter import spec as specs
from charter.jobs import launch_run

ROUNDS, PROMPTS = 8, {0.2: 240, 5.0: 32}
"""How often a server is asked for as many answers as it gives at once; and the prompts at each latency."""


def main(words: Sequence[str]) -> int:
    """Plays both sides by turns at each latency, and writes the section."""
    count = int(words[0]) if words else 3
    seconds: dict[tuple[float, bool], list[float]] = {}
    for delay in [float(word) for word in words[1:]] or list(PROMPTS):
        with (
            tempfile.TemporaryDirectory() as folder,
            serve_module("bench.slow_server", str(delay)) as target,
            serve_module("charter.cli", "organism", "serve", "--delay", str(delay)) as oracle,
        ):
            prompts = PROMPTS.get(delay, 32)
            play(build_spec(target, oracle, 1, prompts), True, Path(folder) / "loads the libraries")
            for number in range(count):
                heads = set()
                for overlap in (True, False):
                    place = Path(folder) / f"{number}-{overlap}"
                    took = play(build_spec(target, oracle, prompts, prompts // ROUNDS), overlap, place)
                    seconds.setdefault((delay, overlap), []).append(took)
                    heads.add(_records_hash(place))
                    print(delay, overlap, seconds[delay, overlap], flush=True)
                assert len(heads) == 1, "the records are the same"
    text = write_section(seconds)
    put(text)
    print(text)
    return 0


def build_spec(target: str, oracle: str, prompts: int, at_once: int) -> str:
    """A target and an oracle over HTTP, on prompts of the village."""
    value = {
        "version": 1,
        "method": "red_team",
        "world": "village",
        "templates": "world",
        "scale": "organism",
        "target": {"model": "slow", "base_url": target, "connections": at_once},
        "oracle": {"model": "village", "base_url": oracle, "connections": at_once, "unproven": True},
        "prompts": {"heldout": 1, "gate": 1},
        "options": {"draw": {"batch": prompts}},
    }
    return yaml.safe_dump(value)


def play(text: str, overlap: bool, directory: Path) -> float:
    """The wall seconds of a run in this process, which has loaded its libraries."""
    begun = time.monotonic()
    launch_run(specs.change_spec(text, {"oracle.overlap": str(overlap).lower()}), directory)
    return time.monotonic() - begun


def _records_hash(directory: Path) -> str:
    return str(json.loads((directory / "HEAD").read_text(encoding="utf-8"))["records"])


def write_section(seconds: Mapping[tuple[float, bool], Sequence[float]]) -> str:
    """The section: seconds of each side, median and spread, and their ratio."""
    count = max(len(found) for found in seconds.values())
    lines = [
        "# Asking the judge while the target answers",
        "",
        f"`python -m bench.overlap`: red teaming, on and off by turns, {count} runs each; {os.cpu_count()} cores, load "
        f"of the machine at the end {os.getloadavg()[0]:.1f}. Target and oracle answer over HTTP, an eighth of the "
        "prompts at once. Wall seconds: median (smallest to largest). Records of both are the same.",
        "",
        "| seconds of an answer | prompts | with overlap | without | times as fast |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for delay in dict.fromkeys(delay for delay, _ in seconds):
        on, off = seconds[delay, True], seconds[delay, False]
        cells = [f"{median(each):.1f} ({min(each):.1f} to {max(each):.1f})" for each in (on, off)]
        ratio = f"{median(off) / median(on):.2f}"
        lines.append(f"| {delay:g} | {PROMPTS.get(delay, 32)} | {cells[0]} | {cells[1]} | {ratio} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
