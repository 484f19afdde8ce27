"""``python -m bench.overlap [N]``: runs with `oracle.overlap` on and off by turns, N times each (default 3).

The oracle answers over HTTP after 0.2 seconds. Two runs are played: red teaming of a target that answers over HTTP as
slowly, and one iteration of the recipe ``iteralign`` on the organism, which answers in this process in milliseconds."""

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

DELAY, AT_ONCE = "0.2", 16
"""Seconds of an answer over HTTP, and the calls at once to each server."""
PROMPTS = 240
SMALL = {"prompts.heldout": "24", "prompts.gate": "12", "options.draw.batch": "96", "options.stop.iterations": "1"}
RUNS = ("red_team, the target over HTTP", "iteralign, the target in this process")


def main(words: Sequence[str]) -> int:
    """Plays both kinds by turns and writes the section."""
    count = int(words[0]) if words else 3
    seconds: dict[tuple[str, bool], list[float]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        serve_module("bench.slow_server", DELAY) as target,
        serve_module("charter.cli", "organism", "serve", "--delay", DELAY) as oracle,
    ):
        texts = {RUNS[0]: red_team_spec(target, oracle), RUNS[1]: iteralign_spec(oracle)}
        play(specs.change_spec(texts[RUNS[0]], {"options.draw.batch": "8"}), Path(folder) / "loads the libraries")
        for number in range(count):
            for kind, text in texts.items():
                heads = set()
                for overlap in (True, False):
                    place = Path(folder) / f"{len(seconds)}-{number}-{overlap}"
                    took = play(specs.change_spec(text, {"oracle.overlap": str(overlap).lower()}), place)
                    seconds.setdefault((kind, overlap), []).append(took)
                    heads.add(_records_hash(place))
                    print(kind, overlap, seconds[kind, overlap], flush=True)
                assert len(heads) == 1, "the records are the same"
    text = write_section(seconds)
    put(text)
    print(text)
    return 0


def red_team_spec(target: str, oracle: str) -> str:
    """A target and an oracle over HTTP, on prompts of the village."""
    value = {
        "version": 1,
        "method": "red_team",
        "world": "village",
        "templates": "world",
        "scale": "organism",
        "target": {"model": "slow", "base_url": target, "connections": AT_ONCE},
        "oracle": {"model": "village", "base_url": oracle, "connections": AT_ONCE, "unproven": True},
        "prompts": {"heldout": 12, "gate": 12},
        "options": {"draw": {"batch": PROMPTS}},
    }
    return yaml.safe_dump(value)


def iteralign_spec(oracle: str) -> str:
    """One iteration of the recipe."""
    text = specs.list_recipes()["iteralign"].read_text(encoding="utf-8")
    served = {"oracle.model": "village", "oracle.base_url": oracle, "oracle.connections": str(AT_ONCE)}
    return specs.change_spec(text, SMALL | served)


def play(text: str, directory: Path) -> float:
    """The wall seconds of a run in this process, which has loaded its libraries."""
    begun = time.monotonic()
    launch_run(text, directory)
    return time.monotonic() - begun


def _records_hash(directory: Path) -> str:
    return str(json.loads((directory / "HEAD").read_text(encoding="utf-8"))["records"])


def write_section(seconds: Mapping[tuple[str, bool], Sequence[float]]) -> str:
    """The section: seconds of each side, median and spread, and their ratio."""
    count = max(len(found) for found in seconds.values())
    lines = [
        "# Asking the judge while the target answers",
        "",
        f"`python -m bench.overlap`: on and off by turns, {count} runs each; {os.cpu_count()} cores, load of the "
        f"machine at the end {os.getloadavg()[0]:.1f}. Servers answer after {DELAY} s, {AT_ONCE} calls at once to "
        "each. Wall seconds: median (smallest to largest). Records of both are the same.",
        "",
        "| run | seconds with overlap | without | times as fast |",
        "| --- | ---: | ---: | ---: |",
    ]
    for kind in RUNS:
        on, off = seconds[kind, True], seconds[kind, False]
        cells = [f"{median(each):.1f} ({min(each):.1f} to {max(each):.1f})" for each in (on, off)]
        lines.append(f"| {kind} | {cells[0]} | {cells[1]} | {median(off) / median(on):.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
