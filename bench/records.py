"""``python -m bench.records [--records N ...] [--forms lines parquet] [--keep FILE]``: what a record of a long step
costs, and the memory that it takes.

Plays a step of N records with a scripted engine (default 10,000, 100,000 and 1,000,000) and keeps it as lines, or as
Parquet. Each phase is a process of its own, so that each has its own peak of memory: the step made and sealed, killed
in its middle and gone on with, read when the run is opened again, verified, and shown. ``--keep``: what was measured
is added to this file, and what it holds is not measured again. Writes bench/RECORDS.md."""

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
from itertools import product
from pathlib import Path
from typing import Any, overload

from bench.page import put
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import Message, Prompt, Request, Sampling
from charter.reports.integrity import verify_run
from charter.reports.run_summary import summarise_run
from charter.runs import Run
from charter.runs.store import RecordFile, SealedDigests, read_seal, records_path
from charter.stages.probe import probe

PAGE = Path(__file__).parent / "RECORDS.md"
SIZES = (10_000, 100_000, 1_000_000)
MOST_MICROSECONDS, MOST_GROWTH = 200.0, 0.20
"""The marks: beyond the engine, for a record; and of peak memory, from the smallest step to the largest."""
Row = dict[str, Any]
TITLES = {"lines": "lines", "parquet": "Parquet"}
FORMS = {"lines": 1 << 30, "parquet": 0}
"""What a run is given as ``parquet_above_mb``."""
STEP, SAMPLING = "001/exchanges", Sampling()
TEXT = "the key of a house is kept by those who live in it and no one else may ask for a copy of what it opens "


class MadePrompts(Sequence[Prompt]):
    """Prompts that are made when they are asked for, so that what is measured is the work and not its input."""

    def __init__(self, count: int, make: Callable[[int], Prompt] | None = None) -> None:
        """``make``: makes a prompt by its number; None: ``make_prompt``."""
        self._count, self._make = count, make or make_prompt

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Prompt: ...

    @overload
    def __getitem__(self, place: slice) -> list[Prompt]: ...

    def __getitem__(self, place: int | slice) -> Prompt | list[Prompt]:
        if isinstance(place, slice):
            return [self._make(number) for number in range(self._count)[place]]
        return self._make(range(self._count)[place])


def make_prompt(number: int) -> Prompt:
    """A prompt with a text of its own."""
    return Prompt(id=f"p{number}", messages=(Message(role="user", content=f"{number}: {TEXT}"),), source="bench")


def answer_all(directory: Path, count: int, form: str, kill_at: int = 0) -> float:
    """Plays the step, or goes on with it; kills this process when so many records are made. Gives the seconds that
    the engine takes for a record."""

    def told(*progress: Any) -> None:
        if kill_at and progress[1] >= kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def answer(request: Request) -> str:
        return f"{request.id} {TEXT}"

    made = (directory / "journal.jsonl").exists()
    options: dict[str, Any] = {"observer": told, "parquet_above_mb": FORMS[form]}
    if not made:
        options["spec_text"] = "version: 1\nmethod: iteralign\nworld: village\n"
    with Run.open(directory, **options) if made else Run.create(directory, **options) as run:
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
    file, digests = RecordFile(records_path(directory, STEP), directory), SealedDigests(directory, seal)
    assert len(file.read_lines(range(50))) == len(digests[:50])
    first = time.monotonic() - clock
    file.read_lines(range(len(file) - 50, len(file)))
    return first


def play(phase: str, directory: Path, count: int, form: str) -> dict[str, float]:
    """One phase, in this process."""
    phases: dict[str, Callable[[], object]] = {
        "map and seal": lambda: answer_all(directory, count, form),
        "killed at half": lambda: answer_all(directory, count, form, kill_at=count // 2),
        "resumed": lambda: answer_all(directory, count, form),
        "opened again": lambda: answer_all(directory, count, form),
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


def measure(count: int, form: str) -> Iterator[Row]:
    """Every phase at one size."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        for phase in PHASES:
            directory = Path(folder) / ("killed" if phase in ("killed at half", "resumed") else "run")
            words = [sys.executable, "-m", "bench.records", "--phase", phase, "--records", str(count)]
            words += ["--forms", form, "--directory", str(directory)]
            ended = subprocess.run(words, capture_output=True, text=True, check=False)
            if phase == "killed at half":
                assert ended.returncode == -signal.SIGKILL, ended.stderr
                continue
            assert not ended.returncode, ended.stderr
            found = json.loads(ended.stdout)
            yield {"records": float(count), "form": form, "phase": phase, **found}
            told = f"{count:,} as {form}, {phase}: {found['seconds']:.1f} s, {found['peak']:.0f} MB"
            print(told, file=sys.stderr, flush=True)
        sizes = [path.stat().st_size for path in Path(folder).joinpath("run").rglob("*") if path.is_file()]
        disk = {"seconds": 0.0, "peak": sum(sizes) / 1e6, "result": 0.0}
        yield {"records": float(count), "form": form, "phase": "disk", **disk}


def write_page(rows: Sequence[Row]) -> None:
    """The tables, and whether the marks are met."""
    parts = [
        part
        for form in FORMS
        if (chosen := [row for row in rows if row["form"] == form])
        for part in _tell(form, chosen)
    ]
    head = [
        "# What a record costs",
        "",
        f"`python -m bench.records`; one run of each; {platform.machine()}, {os.cpu_count()} cores; Python "
        f"{platform.python_version()}.",
        "Seconds are those of the processor: the machine had other work. "
        "The marks: at most 200 µs a record beyond the engine, and at most 20 % more memory at the largest.",
        "",
    ]
    put("\n".join([*head, *parts]), PAGE)


def _tell(form: str, rows: Sequence[Row]) -> list[str]:
    """The part of the page about one form."""
    lines = ["| records | phase | CPU seconds | µs a record | peak MB |", "| ---: | :-- | ---: | ---: | ---: |"]
    for row in rows:
        each = float(row["seconds"]) / float(row["records"]) * 1e6
        if row["phase"] != "disk":
            lines.append(
                f"| {row['records']:,.0f} | {row['phase']} | {row['seconds']:.1f} | {each:.1f} | {row['peak']:.0f} |"
            )
    told = []
    for phase in ("map and seal", "resumed", "opened again", "verify", "show"):
        small, *_, large = (row for row in rows if row["phase"] == phase)
        growth = float(large["peak"]) / float(small["peak"]) - 1
        engine = float(large["result"]) * 1e6 if phase == "map and seal" else 0.0
        each = float(large["seconds"]) / float(large["records"]) * 1e6 - engine
        met = growth <= MOST_GROWTH and each <= MOST_MICROSECONDS
        sizes = f"{small['records']:,.0f} to {large['records']:,.0f}"
        told.append(f"| {phase} | {sizes} | {growth:+.0%} | {each:.1f} | {'yes' if met else '**no**'} |")
    first = ", ".join(f"{r['result'] * 1e3:.1f} ms at {r['records']:,.0f}" for r in rows if r["phase"] == "page")
    disk = ", ".join(f"{r['peak']:,.0f} MB at {r['records']:,.0f}" for r in rows if r["phase"] == "disk")
    marks = ["| phase | records | peak | µs a record, less the engine's | met |", "| :-- | :-- | ---: | ---: | :-- |"]
    last = f"The first page of 50 records: {first}. On disk: {disk}."
    return [f"## Kept as {TITLES[form]}", "", *lines, "", *marks, *told, "", last, ""]


def main(words: Sequence[str]) -> int:
    """Measures and writes the page; with ``--phase`` plays one phase."""
    parser = argparse.ArgumentParser(prog="python -m bench.records", description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--phase", choices=PHASES)
    parser.add_argument("--directory", type=Path, help="of the phase")
    given = parser.parse_args(words)
    if given.phase:
        print(json.dumps(play(given.phase, given.directory, given.records[0], given.forms[0])))
        return 0
    rows = []
    if given.keep and given.keep.exists():
        rows = [json.loads(line) for line in given.keep.read_text(encoding="utf-8").splitlines()]
    known = {(row["form"], row["records"]) for row in rows}
    for form, count in product(given.forms, given.records):
        measured = [] if (form, count) in known else list(measure(count, form))
        if given.keep:
            with given.keep.open("a", encoding="utf-8") as stream:
                stream.writelines(json.dumps(row) + "\n" for row in measured)
        rows += measured
    write_page(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
