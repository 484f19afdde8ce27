"""``python -m bench.http [N]``: charter's calls against bare Inspect's, to a server of 200 ms in another process.

1,000 calls with 32 at once, N times each (default 5), by turns: ``inspect`` asks Inspect's model and keeps the texts;
``charter`` judges 1,000 exchanges as a run does it, through the judge's templates, the ledger, the engine and the disk.
Wall time and CPU time are those of the calls alone, after one call that opens the connection."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.page import ROOT, put

CALLS, TOGETHER, SECONDS = 1000, 32, 0.2


def main(words: Sequence[str]) -> int:
    """Measures and writes the section."""
    if words and words[0] in SIDES:
        print(json.dumps(SIDES[words[0]](words[1])))
        return 0
    times = int(words[0]) if words else 5
    server = subprocess.Popen(
        [sys.executable, "-m", "bench.slow_server", str(SECONDS)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for _ in range(times):
            for side in SIDES:
                found[side].append(_child(side, url))
    finally:
        server.terminate()
        server.wait()
    text = section(found)
    put(text)
    print(text)
    return 0


def _child(side: str, url: str) -> dict[str, float]:
    ended = subprocess.run(
        [sys.executable, "-m", "bench.http", side, url],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    if ended.returncode != 0:
        raise RuntimeError(ended.stderr[-2000:])
    measured: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return measured


def exchanges(count: int) -> list[Any]:
    """What is judged."""
    from charter.records.chat import Exchange, Sampling, user_prompt

    return [
        Exchange(
            id=f"e{n}", prompt=user_prompt(f"question {n} about this and that " * 4), stop="stop", model="m",
            response="an answer of words " * 8, sampling=Sampling(),
        )
        for n in range(count)
    ]  # fmt: skip


def requests(count: int) -> list[Any]:
    """The requests that judging makes of them."""
    from charter.judging.judge_requests import judge_request
    from charter.judging.rubrics import CONDUCT
    from charter.records.record import Step
    from charter.records.templates import Templates

    step = Step(path="000/verdicts", run_seed=0)
    return [judge_request(e, CONDUCT, Templates(), step) for e in exchanges(count)]


def inspect(url: str) -> dict[str, float]:
    """Bare Inspect: the same messages, settings and reply schema."""
    from inspect_ai.model import ChatMessageUser, GenerateConfig, ResponseSchema, get_model
    from inspect_ai.util import JSONSchema

    asked = requests(CALLS)
    model = get_model(
        "openai-api/bench/slow", base_url=url, api_key="none", config=GenerateConfig(max_connections=TOGETHER)
    )

    async def ask(request: Any) -> str:
        schema = ResponseSchema(name="reply", json_schema=JSONSchema.model_validate(request.response_schema))
        config = GenerateConfig(temperature=0, max_tokens=512, response_schema=schema)
        output = await model.generate([ChatMessageUser(content=request.messages[0].content)], config=config)
        return str(output.completion)

    async def all_of_them() -> dict[str, float]:
        await ask(asked[0])
        wall, cpu = time.monotonic(), time.process_time()
        texts = await asyncio.gather(*(ask(request) for request in asked))
        assert len(texts) == CALLS
        return {"wall": time.monotonic() - wall, "cpu": time.process_time() - cpu}

    return asyncio.run(all_of_them())


def charter(url: str) -> dict[str, float]:
    """Judging as a run does it."""
    from charter.judging.rubrics import CONDUCT
    from charter.models.engines.remote_engine import RemoteEngine, RemoteOptions
    from charter.records.templates import Templates
    from charter.runs import Run
    from charter.spec import JudgingSpec
    from charter.stages.judge import judge

    engine = RemoteEngine("slow", RemoteOptions(base_url=url, max_connections=TOGETHER))
    items, first = exchanges(CALLS), requests(1)
    with tempfile.TemporaryDirectory() as folder, Run.create(Path(folder) / "run", spec_text="x") as run:
        metered = run.meter_engine(engine, "judge", "aligning")
        assert next(engine.generate(first)).text
        wall, cpu = time.monotonic(), time.process_time()
        verdicts = run.steps("000").map("verdicts", judge, items, metered, CONDUCT, Templates(), JudgingSpec())
        spent = {"wall": time.monotonic() - wall, "cpu": time.process_time() - cpu}
        assert [v.label for v in verdicts] == ["acceptable"] * CALLS
        engine.close()
    return spent


SIDES = {"inspect": inspect, "charter": charter}


def section(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """The section of the page: medians, spreads, and the two marks."""
    rows = []
    for side, runs in found.items():
        for key, scale, name in (("wall", 1.0, "wall time, s"), ("cpu", 1000 / CALLS, "CPU a call, ms")):
            values = [run[key] * scale for run in runs]
            rows.append(f"| {side}: {name} | {median(values):.3g} | {min(values):.3g} to {max(values):.3g} |")
    wall = [c["wall"] / i["wall"] for c, i in zip(found["charter"], found["inspect"], strict=True)]
    cpu = [(c["cpu"] - i["cpu"]) * 1000 / CALLS for c, i in zip(found["charter"], found["inspect"], strict=True)]
    rows += [
        f"| wall time against bare Inspect (at most 1.3) | {median(wall):.3g} | {min(wall):.3g} to {max(wall):.3g} |",
        f"| CPU a call above it, ms (at most 1) | {median(cpu):.3g} | {min(cpu):.3g} to {max(cpu):.3g} |",
    ]
    return "\n".join(
        [
            "# Calls over HTTP",
            "",
            f"`python -m bench.http`: {CALLS:,} calls at {1000 * SECONDS:.0f} ms with {TOGETHER} at once, server in "
            f"another process; bare Inspect and a judging step of a run by turns, n = {len(wall)} each. "
            "Median (smallest to largest).",
            "",
            "| figure | median | spread |",
            "| --- | ---: | ---: |",
            *rows,
        ]
    ) + "\n"  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
