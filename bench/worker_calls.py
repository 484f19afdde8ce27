"""``python -m bench.worker_calls [ROUNDS]``: what a request to a worker of a Ray cluster takes of charter's own core.

The workers answer from a script, so that what is measured is how requests are dealt and come back."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from bench.connections import spread
from bench.page import put
from charter.models.engines.ray_cluster import RayCluster, RayOptions
from charter.models.engines.ray_engine import RayEngine
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.ports import Engine
from charter.records.chat import Message, Request

BATCHES, CALLS, WORKERS = (8, 64), 8_192, 2
"""Requests that a worker is handed at once."""
TEXT = "the key of a house is kept by those who live in it and no one else may ask for a copy of what it opens "


@dataclass(frozen=True)
class ScriptedOpener:
    """Opens an engine that says the same to everything: about a hundred words."""

    identity: str = "scripted"

    def open(self, held: Engine | None) -> Engine:
        """Opens it, or goes on with what is held."""
        return held or ScriptedEngine((4 * TEXT,), self.identity)


def main(words: Sequence[str]) -> int:
    """Measures and writes the section."""
    rounds = int(words[0]) if words else 3
    with closing(RayCluster(RayOptions(workers=WORKERS))) as cluster:
        cluster.join()
        found = {batch: [ask(cluster, batch, CALLS) for _ in range(rounds)] for batch in BATCHES}
    lines = [
        "# Requests to workers of a Ray cluster",
        "",
        f"`python -m bench.worker_calls`: {CALLS:,} requests to {WORKERS} workers that answer from a script; "
        f"rounds: {rounds}; {os.cpu_count()} cores; load of the machine at the end {os.getloadavg()[0]:.1f}. "
        "Median (smallest to largest) over rounds.",
        "",
        "| handed at once | CPU of charter a request, ms | requests a second |",
        "| ---: | ---: | ---: |",
    ]
    for batch, times in found.items():
        cpu, rate = [1000 * c / CALLS for _, c in times], [CALLS / w for w, _ in times]
        lines.append(f"| {batch} | {spread(cpu)} | {spread(rate)} |")
    put("\n".join(lines))
    print("\n".join(lines))
    return 0


def ask(cluster: RayCluster, batch: int, calls: int) -> tuple[float, float]:
    """Wall and CPU seconds of this process for so many requests."""
    requests = [
        Request(id=f"r{number}", messages=(Message(role="user", content=f"{TEXT}{number}"),)) for number in range(calls)
    ]
    handed = RayCluster(cluster.options.model_copy(update={"batch": batch}))
    with closing(RayEngine(ScriptedOpener(), handed)) as engine:
        next(iter(engine.generate(requests[:1])))
        wall, cpu = time.monotonic(), time.process_time()
        assert len(list(engine.generate(requests))) == calls
        return time.monotonic() - wall, time.process_time() - cpu


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
