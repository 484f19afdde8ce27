"""``python -m bench.records [--records N ...]``: what a record of a long step costs, and the memory that it takes.

Plays a step of N records with a scripted engine (default 10,000, 100,000 and 1,000,000). Each phase is a process of its
own, so that each has its own peak of memory: the step made and sealed, killed in its middle and gone on with, read when
the run is opened again, verified, and shown. Writes bench/RECORDS.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

from bench.page import put
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import Message, Prompt, Request, Sampling
from charter.reports.integrity import verify_run
from charter.reports.run_summary import summarise_run
from charter.runs import Run
from charter.runs.store import RecordFile, SealedDigests, read_seal
from charter.stages.probe import probe

PAGE = Path(__file__).parent / "RECORDS.md"
SIZES = (10_000, 100_000, 1_000_000)
MOST_MICROSECONDS, MOST_GROWTH = 200.0, 0.20
"""The marks: beyond the engine, for a record; and of peak memory, from the smallest step to the largest."""
STEP, SAMPLING = "001/exchanges", Sampling()
TEXT = "the key of a house is kept by those who live in it and no one else may ask for a copy of what it opens "


class MadePrompts(Sequence[Prompt]):
    """Prompts that are made when they are asked for, so that what is measured is the run and not its input."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Prompt: ...

    @overload
    def __getitem__(self, place: slice) -> list[Prompt]: ...

    def __getitem__(self, place: int | slice) -> Prompt | list[Prompt]:
        if isinstance(place, slice):
            return [make_prompt(number) for number in range(self._count)[place]]
        return make_prompt(range(self._count)[place])


def make_prompt(number: int) -> Prompt:
    """A prompt with a text of its own."""
    return Prompt(id=f"p{number}", messages=(Message(role="user", content=f"{number}: {TEXT}"),), source="bench")


def answer_all(directory: Path, count: int, kill_at: int = 0) -> float:
    """Plays the step, or goes on with it; kills this process when so many records are made. Gives the seconds that
    the engine takes for a record."""

    def told(*progress: Any) -> None:
        if kill_at and progress[1] >= kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def answer(request: Request) -> str:
        return f"{request.id} {TEXT}"

    made = (directory / "journal.jsonl").exists()
    run = Run.open(directory, observer=told) if made else Run.create(
        directory, spec_text="version: 1\nmethod: iteralign\nworld: village\n", observer=told
    )  # fmt: skip
    with run:
        engine = run.meter_engine(ScriptedEngine(answer, shuffle=1), "target", "target")
        run.steps("001").map("exchanges", probe, MadePrompts(count), engine, SAMPLING)
    clock = time.process_time()
    requests = [Request(id=p.id, messages=p.messages, sampling=SAMPLING) for p in MadePrompts(5000)]
    answered = sum(1 for _ in ScriptedEngine(answer).generate(requests))
    return (time.process_time() - clock) / answered


def show_pages(directory: Path) -> float:
    """The first page of the step and its last, each with its digests. Gives the seconds that the first took."""
    seal, _ = read_seal(directory, STEP, None)
    assert seal is not None
    clock = time.monotonic()
    file, digests = RecordFile(directory / f"{STEP}.jsonl", directory), SealedDigests(directory, seal)
    assert len(file.read_lines(range(50))) == len(digests[:50])
    first = time.monotonic() - clock
    file.read_lines(range(len(file) - 50, len(file)))
    return first


def play(phase: str, directory: Path, count: int) -> dict[str, float]:
    """One phase, in this process."""
    phases: dict[str, Callable[[], object]] = {
        "map and seal": lambda: answer_all(directory, count),
        "killed at half": lambda: answer_all(directory, count, kill_at=count // 2),
        "resumed": lambda: answer_all(directory, count),
        "opened again": lambda: answer_all(directory, count),
        "verify": lambda: verify_run(directory).ok or sys.exit("damaged"),
        "show": lambda: summarise_run(directory),
        "page": lambda: show_pages(directory),
    }
    clock, began = time.monotonic(), time.process_time()
    result = phases[phase]()
    wall, seconds = time.monotonic() - clock, time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "wall": wall, "peak": peak, "result": result if isinstance(result, float) else 0.0}


PHASES = ("map and seal", "opened again", "verify", "show", "page", "killed at half", "resumed")


def measure(count: int) -> Iterator[dict[str, float | str]]:
    """Every phase at one size."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        for phase in PHASES:
            directory = Path(folder) / ("killed" if phase in ("killed at half", "resumed") else "run")
            words = [sys.executable, "-m", "bench.records", "--phase", phase, "--records", str(count)]
            words += ["--directory", str(directory)]
            ended = subprocess.run(words, capture_output=True, text=True, check=False)
            if phase == "killed at half":
                assert ended.returncode == -signal.SIGKILL, ended.stderr
                continue
            assert not ended.returncode, ended.stderr
            found = json.loads(ended.stdout)
            yield {"records": float(count), "phase": phase, **found}
            told = f"{count:,} {phase}: {found['seconds']:.1f} s, {found['peak']:.0f} MB"
            print(told, file=sys.stderr, flush=True)
        sizes = [path.stat().st_size for path in Path(folder).joinpath("run").rglob("*") if path.is_file()]
        yield {"records": float(count), "phase": "disk", "seconds": 0.0, "peak": sum(sizes) / 1e6, "result": 0.0}


def write_page(rows: Sequence[dict[str, float | str]]) -> None:
    """The table, and whether the marks are met."""
    sizes = sorted({float(row["records"]) for row in rows})
    by = {(row["records"], row["phase"]): row for row in rows}
    lines = ["| records | phase | CPU seconds | µs a record | peak MB |", "| ---: | :-- | ---: | ---: | ---: |"]
    for row in rows:
        each = float(row["seconds"]) / float(row["records"]) * 1e6
        if row["phase"] != "disk":
            lines.append(
                f"| {row['records']:,.0f} | {row['phase']} | {row['seconds']:.1f} | {each:.1f} | {row['peak']:.0f} |"
            )
    told = []
    for phase in ("map and seal", "resumed", "opened again", "verify", "show"):
        small, large = by[sizes[0], phase], by[sizes[-1], phase]
        growth = float(large["peak"]) / float(small["peak"]) - 1
        engine = float(large["result"]) * 1e6 if phase == "map and seal" else 0.0
        each = float(large["seconds"]) / sizes[-1] * 1e6 - engine
        met = growth <= MOST_GROWTH and each <= MOST_MICROSECONDS
        told.append(f"| {phase} | {growth:+.0%} | {each:.1f} | {'yes' if met else '**no**'} |")
    first = ", ".join(f"{float(by[n, 'page']['result']) * 1e3:.1f} ms at {n:,.0f}" for n in sizes)
    disk = ", ".join(f"{by[n, 'disk']['peak']:,.0f} MB at {n:,.0f}" for n in sizes)
    marks = [
        f"| phase | peak, {sizes[0]:,.0f} to {sizes[-1]:,.0f} | µs a record, less the engine's | met |",
        "| :-- | ---: | ---: | :-- |",
    ]
    put(
        "\n".join(
            [
                "# What a record costs",
                "",
                f"`python -m bench.records`; one run of each; {platform.machine()}, {os.cpu_count()} cores; Python "
                f"{platform.python_version()}.",
                "Seconds are those of the processor: the machine had other work. "
                "The marks: at most 200 µs a record beyond the engine, and at most 20 % more memory at the largest.",
                "",
                *lines,
                "",
                *marks,
                *told,
                "",
                f"The first page of 50 records: {first}. On disk: {disk}.",
                "",
            ]
        ),
        PAGE,
    )


def main(words: Sequence[str]) -> int:
    """Measures and writes the page; with ``--phase`` plays one phase."""
    parser = argparse.ArgumentParser(prog="python -m bench.records", description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--phase", choices=PHASES)
    parser.add_argument("--directory", type=Path, help="of the phase")
    given = parser.parse_args(words)
    if given.phase:
        print(json.dumps(play(given.phase, given.directory, given.records[0])))
        return 0
    write_page([row for count in given.records for row in measure(count)])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
