"""``python -m bench.growth [--prompts N N] [--times N] [--keep FILE]``: what a hundred times as many prompts take.

Splits N prompts (default 1,000 and 100,000; 6 to 40 words with Zipf frequencies), red teams the train prompts, scores
the held-out ones, and verifies and reads the run. All engines are scripted and answer at once. One failure in ten. Each
play is a process of its own. Writes bench/GROWTH.md: the processor's seconds by part, and their ratio. ``--keep``:
what was measured is added to this file, and what it holds is not measured again."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from statistics import mean
from typing import Any

from tests.fakes.refused_topics import ToyBenchmark, ToyTuner

from bench.page import put
from bench.splits import unlike
from charter.methods.inputs import Inputs
from charter.methods.red_team import red_team
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.ports import Engine, Roles
from charter.records.chat import Request, Sampling, user_prompt
from charter.records.model_refs import ModelRef
from charter.records.templates import Templates
from charter.reports.integrity import verify_run
from charter.reports.run_summary import summarise_run
from charter.runs import Run
from charter.similarity.splits import LeakageFilter, split_prompts
from charter.spec import MethodOptions
from charter.stages.clustering import MAX_LINKED

PAGE = Path(__file__).parent / "GROWTH.md"
PROMPTS, TIMES = (1_000, 100_000), 2
MOST = 1.05
"""The mark: so many times the prompts may take so many times more than their own number."""
NEAR, FAILING = 0.95, 10
"""The similarity of near-duplicates, as in a spec that does not say it; one in so many answers fails."""
COMPARING = ("splitting", "000/prompts", "001/clusters")
"""The parts that compare texts with one another."""
START = ModelRef(base="base", base_digest="b", digest="start")


class PartClock:
    """The processor's seconds of each part, told apart as an observer of the run: a step ends when all is made."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._last = time.process_time()

    def __call__(self, step: str, done: int, total: int) -> None:
        if done == total:
            self.end_part(step)

    def end_part(self, name: str) -> None:
        """All since the last part belongs to this one."""
        now = time.process_time()
        self.parts[name] = self.parts.get(name, 0.0) + now - self._last
        self._last = now


def judge_by_answer(request: Request) -> str:
    """The judge's reply, by the words of the answer."""
    label = "harmful" if "plan for" in request.messages[-1].content else "acceptable"
    return json.dumps({"rationale": "by its words", "label": label, "severity": 1})


def answer_prompt(request: Request) -> str:
    """An answer of words of the prompt."""
    words = request.messages[-1].content.split()
    return f"{'a plan for' if hash_place(request.id) else 'no'} {' '.join(words[:12])}"


def hash_place(id: str) -> bool:
    """Whether the item is one of those that fail: the same in every process."""
    return random.Random(id).randrange(FAILING) == 0


def play(directory: Path, count: int) -> dict[str, float]:
    """One play, in this process: the seconds of each part."""
    for library in ("scipy.stats", "sklearn.cluster", "sklearn.feature_extraction.text"):
        import_module(library)  # which takes the same time however many prompts there are
    prompts = [user_prompt(text, n) for n, text in enumerate(unlike(count, random.Random(0)))]
    clock = PartClock()
    parts = split_prompts(prompts, NEAR)
    clock.end_part("splitting")
    with Run.create(directory, spec_text="version: 1\nmethod: red_team\nworld: village\n", observer=clock) as run:
        inputs = Inputs(
            start=START,
            redteam=parts["train"],
            guard=LeakageFilter([*parts["gate"], *parts["heldout"]], NEAR),
            templates=Templates(),
            answers=Sampling(),
            options=MethodOptions.model_validate({"draw": {"batch": count}}),
        )
        clock.end_part("the digest of the guard")
        red_team(run, lend_engines(run, ToyBenchmark("heldout", parts["heldout"])), inputs)
        run.finish()
    clock.end_part("HEAD")
    assert verify_run(directory).ok
    clock.end_part("verify")
    summarise_run(directory)
    clock.end_part("show")
    return clock.parts


def lend_engines(run: Run, heldout: ToyBenchmark) -> Roles:
    """Every role, scripted."""

    @contextmanager
    def target(_: ModelRef) -> Iterator[Engine]:
        yield run.meter_engine(ScriptedEngine(answer_prompt), "target", "target")

    judge = ScriptedEngine(judge_by_answer)
    return Roles(
        target=target,
        proposer=judge,
        judge=run.meter_engine(judge, "judge", "aligning"),
        measuring_judge=run.meter_engine(judge, "judge", "measuring"),
        tuner=ToyTuner([], [], []),
        evaluators={"heldout": heldout},
    )


def measure(count: int) -> dict[str, Any]:
    """One play, in a process of its own."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        words = [sys.executable, "-m", "bench.growth", "--play", str(Path(folder) / "run"), "--prompts", str(count)]
        found = subprocess.run(words, capture_output=True, text=True, check=False)
    assert not found.returncode, found.stderr
    return {"prompts": count, **json.loads(found.stdout)}


def write_page(plays: Sequence[dict[str, Any]]) -> None:
    """The seconds of each part at the smallest and at the largest number, and their ratio."""
    few, many = min(p["prompts"] for p in plays), max(p["prompts"] for p in plays)
    sides = [[p for p in plays if p["prompts"] == count] for count in (few, many)]
    n, most = " and ".join(str(len(side)) for side in sides), many / few * MOST
    names = list(sides[1][0]["parts"])
    rows = [_tell(name, [[p["parts"][name] for p in side] for side in sides]) for name in names]
    whole = [[sum(p["parts"].values()) for p in side] for side in sides]
    rest = [[sum(s for name, s in p["parts"].items() if name not in COMPARING) for p in side] for side in sides]
    peaks = " and ".join(f"{max(p['peak'] for p in side):,.0f} MB" for side in sides)
    put(
        "\n".join(
            [
                "# What a hundred times as many prompts take",
                "",
                f"`python -m bench.growth`; {n} plays, means; {platform.machine()}, {os.cpu_count()} cores; Python "
                f"{platform.python_version()}. The processor's seconds: the machine had other work. The mark: "
                f"{many / few:.0f} times as many prompts take at most {most:.0f} times as long. "
                "Loading libraries is left out.",
                "",
                f"| part | {few:,} prompts, s | {many:,} prompts, s | ratio |",
                "| :-- | ---: | ---: | ---: |",
                *rows,
                _tell("all", whole),
                _tell("all but what compares texts", rest),
                "",
                "Three parts compare texts with one another. `splitting` and `000/prompts` (the guard) compare exactly "
                "those prompts that share several rare runs of characters. Of more prompts more do, but a pair costs "
                "nanoseconds, and reading a prompt costs much more. The words of these prompts are numbers, which "
                f"share more runs than words do. `001/clusters` compares {MAX_LINKED:,} failures with one another at "
                "most; the others join the nearest cluster.",
                "",
                f"The plays of {many:,} took {', '.join(f'{seconds:.1f}' for seconds in whole[1])} s. "
                f"Peak memory: {peaks}.",
                "",
            ]
        ),
        PAGE,
    )


def _tell(name: str, sides: Sequence[Sequence[float]]) -> str:
    few, many = mean(sides[0]), mean(sides[1])
    shown = f"`{name}`" if "/" in name and "`" not in name else name
    return f"| {shown} | {few:.3f} | {many:.2f} | {many / few:.0f} |"


def main(words: Sequence[str]) -> int:
    """Measures and writes the page; with ``--play`` plays once."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--prompts", type=int, nargs="+", default=list(PROMPTS))
    parser.add_argument("--times", type=int, default=TIMES)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--play", type=Path, help="the folder of one run")
    given = parser.parse_args(words)
    if given.play:
        parts = play(given.play, given.prompts[0])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"parts": parts, "peak": peak}))
        return 0
    plays = []
    if given.keep and given.keep.exists():
        plays = [json.loads(line) for line in given.keep.read_text(encoding="utf-8").splitlines()]
    for count in given.prompts:
        for _ in range(given.times - sum(p["prompts"] == count for p in plays)):
            plays.append(measure(count))
            if given.keep:
                with given.keep.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(plays[-1]) + "\n")
    write_page(plays)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
