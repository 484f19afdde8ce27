"""``python -m bench.scoring MODEL HHH [PAIRS [BATCH]]``: memory and CPU time of weighing answers, beside lm_eval.

MODEL is a folder with a model, HHH the folder of HHH's published tasks (``*/task.json``). The first PAIRS (default 60)
of all categories in turn are weighed as long completions, on a CPU in float32: by this package with batches of 64, and
by lm_eval with batches of BATCH (default 4). Each runs in a process of its own. Adds a section to bench/RESULTS.md."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.page import ROOT, put

Pair = tuple[str, str]


def main(words: Sequence[str]) -> int:
    """Measures both, one after the other, and writes the ratios."""
    model, data, pairs, batch = [*words, *("60", "4")[len(words) - 2 :]][:4]
    sides = {side: measure_side(side, model, data, pairs, batch) for side in ("charter", "lm_eval")}
    text = describe(Path(model).name, int(pairs), batch, sides)
    put(text)
    print(text)
    return 0


def read_pairs(folder: Path, count: int) -> list[Pair]:
    """A context and an answer, twice for each pair of answers: from the categories in turn."""
    tasks = [json.loads(path.read_text(encoding="utf-8"))["examples"] for path in sorted(folder.glob("*/task.json"))]
    turns = [row for rows in itertools.zip_longest(*tasks) for row in rows if row is not None][:count]
    return [(row["input"], " " + answer) for row in turns for answer in row["target_scores"]]


def measure_side(side: str, *words: str) -> dict[str, Any]:
    """What a process of its own found, of itself."""
    command = [sys.executable, "-m", "bench.scoring", f"--{side}", *words]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, env=dict(os.environ))
    if ended.returncode != 0:
        raise RuntimeError(ended.stderr[-2000:])
    found: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return found


def run_side(side: str, words: Sequence[str]) -> dict[str, Any]:
    """Weighs the pairs by ``side`` in this process; loading is not timed."""
    model, data, count, batch = words
    pairs = read_pairs(Path(data), int(count))
    weigh = _charter(model) if side == "charter" else _lm_eval(model, int(batch))
    cpu, clock = time.process_time(), time.monotonic()
    values = weigh(pairs)
    spent = {"CPU seconds": time.process_time() - cpu, "seconds by the clock": time.monotonic() - clock}
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return {"peak memory, GiB": peak / 2**20, **spent, "values": values}


def _charter(model: str) -> Any:
    from charter.models import weights
    from charter.models.engines.local_engine import LocalEngine
    from charter.models.engines.local_options import LocalOptions
    from charter.records.chat import Message, ScoreRequest

    engine = LocalEngine(weights.resolve_model(model), LocalOptions(device="cpu", dtype="float32"))
    assert engine.model is not None

    def weigh(pairs: Sequence[Pair]) -> list[float]:
        asked = [
            ScoreRequest(id=f"{n}", messages=(Message(role="user", content=before),), completion=after, raw=True)
            for n, (before, after) in enumerate(pairs)
        ]
        found = {one.id: one.value for one in engine.score(asked)}
        return [found[f"{n}"] for n in range(len(pairs))]

    return weigh


def _lm_eval(model: str, batch: int) -> Any:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    engine = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=batch)

    def weigh(pairs: Sequence[Pair]) -> list[float]:
        asked = [
            Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=n, metadata=("hhh", n, 1))
            for n, pair in enumerate(pairs)
        ]
        return [float(value) for value, _ in engine.loglikelihood(asked, disable_tqdm=True)]

    return weigh


def describe(model: str, pairs: int, batch: str, sides: dict[str, dict[str, Any]]) -> str:
    """The section: figures of both, their ratio, and how far the log-likelihoods are apart."""
    own, other = sides["charter"], sides["lm_eval"]
    far = max(abs(a - b) for a, b in zip(own["values"], other["values"], strict=True))
    rows = [
        f"| {name} | {own[name]:.3g} | {other[name]:.3g} | {own[name] / other[name]:.2f} |"
        for name in ("peak memory, GiB", "CPU seconds", "seconds by the clock")
    ]
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    head = (
        f"`python -m bench.scoring MODEL HHH {pairs} {batch}`: {model}, {pairs} pairs of HHH, two completions each; "
        f"float32 on a CPU, {threads} thread(s); batches of at most 64 here, of {batch} in lm_eval. Loading counts for "
        f"memory, not for time. The largest difference of two log-likelihoods is {far:.1e} nats."
    )
    table = ["| figure | here | lm_eval | ratio |", "| --- | ---: | ---: | ---: |", *rows]
    return "\n\n".join(["# What weighing long answers takes", head, "\n".join(table)])


if __name__ == "__main__":
    if sys.argv[1].startswith("--"):
        print(json.dumps(run_side(sys.argv[1][2:], sys.argv[2:])))
    else:
        raise SystemExit(main(sys.argv[1:]))
