"""``python -m bench.worker_scale [--records N ...]``: workers of a Ray cluster against one process, and what a long
step on them takes of the memory of the process that writes.

Each request waits ten milliseconds in its worker and uses no processor, as a worker waits for a GPU: so the times show
how work is dealt, and nothing of a model's speed. A long step is played in a process of its own for each size."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench.page import put
from bench.records import SAMPLING, TEXT, MadePrompts
from charter.models.engines.ray_cluster import RayCluster, RayOptions
from charter.models.engines.ray_engine import RayEngine
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.ports import Engine
from charter.records.chat import Message, Request
from charter.runs import Run
from charter.stages.probe import probe

WORKERS, CALLS, WAIT, BATCH = (1, 2, 4), 1024, 0.01, 16
SIZES = (10_000, 100_000)


@dataclass(frozen=True)
class WaitingOpener:
    """Opens an engine that waits so many seconds before it says the same to everything: about a hundred words."""

    wait: float
    identity: str = "scripted"

    def open(self, held: Engine | None) -> Engine:
        """Opens it, or goes on with what is held."""
        return held or ScriptedEngine(self._answer, self.identity)

    def _answer(self, request: Request) -> str:
        time.sleep(self.wait)
        return f"{request.id} {os.getpid()} {4 * TEXT}"


def main(words: Sequence[str]) -> int:
    """Measures and writes the sections."""
    parser = argparse.ArgumentParser(prog="python -m bench.worker_scale", description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=SIZES)
    parser.add_argument("--play", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.play:
        print(json.dumps(play_step(asked.play)))
        return 0
    for section in (tell_speed(), tell_memory(asked.records)):
        put(section)
        print(section)
    return 0


def tell_speed() -> str:
    """One process against several workers."""
    requests = [Request(id=f"r{n}", messages=(Message(role="user", content=f"{TEXT}{n}"),)) for n in range(CALLS)]
    began = time.monotonic()
    assert len(list(WaitingOpener(WAIT).open(None).generate(requests))) == CALLS
    alone = time.monotonic() - began
    rows = [f"| this process | {alone:.1f} | 1 | - |"]
    for workers in WORKERS:
        with closing(RayCluster(RayOptions(workers=workers, batch=BATCH))) as cluster:
            engine = RayEngine(WaitingOpener(WAIT), cluster)
            while len({found.text.split()[1] for found in engine.generate(requests[: workers * BATCH])}) < workers:
                pass  # until all are there
            began, cpu = time.monotonic(), time.process_time()
            assert len(list(engine.generate(requests))) == CALLS
            wall, cpu = time.monotonic() - began, time.process_time() - cpu
        rows.append(f"| {workers} | {wall:.1f} | {alone / wall:.2f} | {1000 * cpu / CALLS:.2f} |")
    return "\n".join(
        [
            "# Workers of a Ray cluster against one process",
            "",
            f"`python -m bench.worker_scale`: {CALLS:,} requests that wait {1000 * WAIT:g} ms each, {BATCH} handed at "
            f"once; {tell_machine()}",
            "",
            "| workers | seconds | times as fast | CPU of charter a request, ms |",
            "| --- | ---: | ---: | ---: |",
            *rows,
        ]
    )


def tell_memory(sizes: Sequence[int]) -> str:
    """A long step at each size."""
    rows = []
    for count in sizes:
        words = [sys.executable, "-m", "bench.worker_scale", "--play", str(count)]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        assert not ended.returncode, ended.stderr
        found = json.loads(ended.stdout.splitlines()[-1])
        rows.append(f"| {count:,} | {found['peak']:.0f} | {1e6 * found['cpu'] / count:.0f} | {found['wall']:.0f} |")
    return "\n".join(
        [
            "# A long step on workers of a Ray cluster",
            "",
            "`python -m bench.worker_scale`: a step of so many records, made by two workers that answer from a script, "
            f"and sealed; {tell_machine()}",
            "",
            "| records | peak memory of charter, MiB | CPU of charter a record, microseconds | seconds |",
            "| ---: | ---: | ---: | ---: |",
            *rows,
        ]
    )


def tell_machine() -> str:
    """What was measured, and on what."""
    return f"one measurement each; {os.cpu_count()} cores, load of the machine at the end {os.getloadavg()[0]:.1f}."


def play_step(count: int) -> dict[str, float]:
    """Memory and time of this process, less what came before: the libraries and the cluster's start count as memory."""
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder,
        closing(RayCluster(RayOptions(batch=64))) as cluster,
    ):
        engine = RayEngine(WaitingOpener(0.0), cluster)
        list(engine.generate([Request(id="first", messages=(Message(role="user", content="hi"),))]))
        wall, cpu = time.monotonic(), time.process_time()
        spec = "version: 1\nmethod: iteralign\nworld: village\n"
        with Run.create(Path(folder) / "run", spec_text=spec) as run:
            metered = run.meter_engine(engine, "target", "target")
            run.steps("001").map("exchanges", probe, MadePrompts(count), metered, SAMPLING)
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    return {"wall": wall, "cpu": cpu, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
