"""``python -m bench.studio [N]``: page times of the studio over a run with steps of N records (default 100,000), for
one reader and for 50 at once, and the server's memory. Writes bench/STUDIO.md."""

from __future__ import annotations

import http.client
import os
import platform
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.page import put
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.ports import Engine
from charter.records.chat import Exchange, Message, Prompt, Request, Sampling
from charter.records.measurements import Measurement, Score
from charter.records.record import Record, Step
from charter.records.revisions import RevisionCheck
from charter.records.verdicts import Outcome, Verdict
from charter.runs import Run
from charter.runs.store import records_path
from charter.statistics import wilson

PAGE = Path(__file__).parent / "STUDIO.md"
TIMES, READERS, READS, HELDOUT, FAILING = 9, 50, 4, 5_000, 10
TEXT = "the key of a house is kept by those who live in it and no one else may ask for a copy of what it opens"


def make_exchange(number: int) -> Exchange:
    """An exchange of about 1.4 kB; one in a thousand has a rare word."""
    source = random.Random(number)
    text = " ".join(source.choices(TEXT.split(), k=220)) + (" marzipan" if number % 1000 == 7 else "")
    asked = (Message(role="user", content=" ".join(source.choices(TEXT.split(), k=25))),)
    prompt = Prompt(id=f"p{number}", messages=asked, source="bench", meta={"category": f"c{number % 7}"})
    return Exchange(id=f"p{number}", prompt=prompt, response=text, stop="stop", model="m", sampling=Sampling())


def make_verdict(number: int) -> Verdict:
    """What a judge says of it: one in ten fails."""
    failed = number % FAILING == 0
    outcome: Outcome = "violates" if failed else "complies"
    label = "harmful" if failed else "fine"
    return Verdict(id=f"p{number}", rubric="harm", label=label, outcome=outcome, rationale=TEXT, raw=TEXT)


def answer_prompts(items: Sequence[Prompt], target: Engine, *, step: Step) -> Iterator[Exchange]:
    """Asks for each answer, so that the journal holds what it holds of a real step."""
    for said in target.generate([Request(id=item.id, messages=item.messages) for item in items], step.done):
        yield make_exchange(int(said.id.removeprefix("p")))


def make_run(directory: Path, count: int) -> Path:
    """A run with a step of ``count`` exchanges, and ``HELDOUT`` held-out answers on both sides."""
    with Run.create(directory, spec_text="version: 1\nmethod: iteralign\nworld: village\n", environment={}) as run:
        prompts = [make_exchange(number).prompt for number in range(count)]
        engine = ScriptedEngine(lambda request: request.id)
        steps = run.steps("001")
        steps.map("exchanges", answer_prompts, prompts, run.meter_engine(engine, "target", "target"))
        steps.record("verdicts", [make_verdict(number) for number in range(count)])
        steps.record("kept", [RevisionCheck(id=f"p{number}", kept=True) for number in range(0, count, FAILING)])
        for folder, share in (("000", 0.3), ("final", 0.8)):
            good = round(share * HELDOUT)
            measured = [Measurement(id=f"p{n}", outcomes={"harmlessness": n < good}) for n in range(HELDOUT)]
            low, high = wilson(good, HELDOUT)
            score = Score(id="harmlessness", value=good / HELDOUT, n=HELDOUT, low=low, high=high)
            records: dict[str, list[Record]] = {
                "exchanges": [make_exchange(n) for n in range(HELDOUT)],
                "measurements": [*measured],
                "scores": [score],
            }
            for name, given in records.items():
                run.steps(folder).record(f"heldout_{name}", given)
        run.finish()
    return directory


@dataclass(frozen=True)
class PageTimes:
    """A page: seconds of each time that it was read, and the server's seconds of processor for one of them."""

    name: str
    seconds: list[float]
    cpu: float


class Reader:
    """One browser: it keeps its cookie and its connection."""

    def __init__(self, url: str) -> None:
        self.host, self.path = url.removeprefix("http://").split("/", 1)
        self.connection = http.client.HTTPConnection(self.host, timeout=120)
        self.cookie = ""
        self.read(f"/{self.path}", 303)

    def read(self, path: str, status: int = 200) -> float:
        """Seconds of one page, its last byte included."""
        begun = time.perf_counter()
        self.connection.request("GET", path, headers={"Cookie": self.cookie} if self.cookie else {})
        answer = self.connection.getresponse()
        body = answer.read()
        taken = time.perf_counter() - begun
        if answer.status != status:
            raise RuntimeError(f"{path}: {answer.status} {body[:300]!r}")
        self.cookie = (answer.getheader("set-cookie") or self.cookie).split(";")[0]
        return taken


def memory_of(pid: int, name: str) -> float:
    """A figure of a process in MiB, as Linux has it."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def cpu_seconds_of(pid: int) -> float:
    """What a process took of the processor so far, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_pages(url: str, count: int, pid: int) -> list[PageTimes]:
    """Each page: its first time, which reads and indexes files, and then as often as ``TIMES`` says."""
    reader, step = Reader(url), "/runs/run/steps/001/exchanges"
    pages = {
        "list of runs": "/",
        "table, first page": step,
        "table, last page": f"{step}?page={count // 50}",
        "search for a rare word": f"{step}?q=marzipan",
        "search for a word in every record": f"{step}?q=house&page=900",
        "filter by a field": f"{step}?field=category&value=c3&page=200",
        "filter and search": f"{step}?field=category&value=c0&q=marzipan",
        "one record by its id": f"{step}/p{count - 3}",
        "the run": "/runs/run",
        "answers before and after, those that changed": "/runs/run/answers?only=changed&page=3",
        "constitution": "/runs/run/constitution",
    }
    found = []
    for name, path in pages.items():
        for said, times in ((f"{name}, the first time", 1), (name, TIMES)):
            before = cpu_seconds_of(pid)
            taken = [reader.read(path) for _ in range(times)]
            found.append(PageTimes(said, taken, (cpu_seconds_of(pid) - before) / times))
    return found


def read_at_once(url: str, count: int) -> list[float]:
    """Seconds of each page that ``READERS`` people read at the same time, ``READS`` each, every one another page."""
    readers = [Reader(url) for _ in range(READERS)]

    def read_pages(number: int) -> list[float]:
        source = random.Random(number)
        path = "/runs/run/steps/001/exchanges?page={}"
        return [readers[number].read(path.format(source.randint(1, count // 50))) for _ in range(READS)]

    with ThreadPoolExecutor(READERS) as pool:
        return [taken for part in pool.map(read_pages, range(READERS)) for taken in part]


def main(words: Sequence[str]) -> int:
    """Makes the run, serves it, measures and writes the page."""
    count = int(words[0]) if words else 100_000
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder) / "run", count)
        size = records_path(run, "001/exchanges").stat().st_size
        command = [sys.executable, "-m", "charter.cli", "studio", folder, "--port", "0", "--role", "viewer"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            url = server.stdout.readline().split()[-1]
            Reader(url).read("/static/studio.css")
            empty = memory_of(server.pid, "VmRSS")
            times = measure_pages(url, count, server.pid)
            alone = memory_of(server.pid, "VmHWM")
            before = cpu_seconds_of(server.pid)
            many = read_at_once(url, count)
            times.append(
                PageTimes(f"table, {READERS} readers at once", many, (cpu_seconds_of(server.pid) - before) / len(many))
            )
            peak = memory_of(server.pid, "VmHWM")
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(60)
    put(write_page(count, size, times, (empty, alone, peak)), PAGE)
    print(PAGE.read_text(encoding="utf-8"))
    return 0


def write_page(count: int, size: int, times: Sequence[PageTimes], memory: tuple[float, ...]) -> str:
    """The section of the page."""
    lines = [
        "# Page times of the studio",
        "",
        f"`python -m bench.studio {count}`: a step of {count:,} exchanges, {size / 1e6:.0f} MB, their "
        f"verdicts, and {HELDOUT:,} held-out prompts on both sides; over HTTP on the loopback interface, one server "
        f"process. {os.cpu_count()} cores ({platform.machine()}), load average {os.getloadavg()[0]:.0f} from other "
        "work at the end. Milliseconds to the last byte, and of the server's processor for one page.",
        "",
        "| page | n | median | least | most | processor |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for page in times:
        taken = page.seconds
        figures = (1000 * median(taken), 1000 * min(taken), 1000 * max(taken), 1000 * page.cpu)
        lines.append(f"| {page.name} | {len(taken)} | " + " | ".join(f"{figure:.0f}" for figure in figures) + " |")
    names = ("nothing read yet", "most, one reader", f"most, {READERS} readers")
    said = "; ".join(f"{name} {figure:.0f} MiB" for name, figure in zip(names, memory, strict=True))
    taken_here = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    return (
        "\n".join([*lines, "", f"Memory of the server: {said}. Making the run took {taken_here:.0f} s of CPU."]) + "\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
