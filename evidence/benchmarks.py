"""Whether lm-eval's tasks give the harness's own figures through charter, and what guessing gives by Dromedary's
protocol.

A small model with random weights is put to TruthfulQA and BBQ: by the harness's own command with its own model class,
by ``charter evaluate`` in process, and by ``charter evaluate`` over HTTP, where a server of the tests answers as vLLM
does. Data: the folder that ``CHARTER_TEST_DATA`` names."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from tests.fakes import tiny_models
from tests.fakes.openai_server import serve
from tests.fakes.published_files import DATA
from tests.fakes.reference_completions import completer

from charter.data.sources import benchmark_tables
from charter.evals.multiple_choice import DromedaryBenchmark
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import ScoreRequest
from charter.records.record import Step
from charter.stages.benchmark_items import gather_answers, score_completions
from charter.statistics import wilson
from evidence.cells import ROOT, RUNS, charter, kept

Row = dict[str, Any]
TASKS = ("truthfulqa_mc1", "truthfulqa_mc2", "bbq")
SIZES = {"in process": 400, "over HTTP": 60, "another model": 60}
"""Documents of each task."""
SCORERS = 400
PORT = 18437
"""Fixed, so that a run that goes on finds its server where it was."""
CLOSE = 1e-6


def benchmarks() -> Row:
    """Every way, and what was to be shown."""
    place = RUNS / "benchmarks"
    files = tables_of(place, SIZES["in process"])
    rows = [compared(place, files, way, size) for way, size in SIZES.items()]
    guesses = [kept(f"benchmarks/guessed-{SCORERS}-{halved}", partial(guessed, halved)) for halved in (False, True)]
    same, control = rows[:-1], rows[-1]
    return {
        "tasks": list(TASKS),
        "rows": rows,
        "guesses": guesses,
        "targets": [
            target("the harness's own figures", "within 1e-6", [r["largest difference"] for r in same], CLOSE),
            {
                "what": "control: another model's figures differ",
                "target": "by more than 1e-3",
                "seen": [control["largest difference"]],
                "met": control["largest difference"] > 1e-3,
            },
            *(
                {
                    "what": f"guessing, {g['protocol']}",
                    "target": g["expected"],
                    "seen": [round(g["share"], 4)],
                    "met": g["low"] <= g["expected"] <= g["high"],
                }
                for g in guesses
            ),
        ],
    }


def target(what: str, wanted: str, seen: Sequence[float], most: float) -> Row:
    """A mark that holds where nothing is above ``most``."""
    return {"what": what, "target": wanted, "seen": list(seen), "met": all(one <= most for one in seen)}


def tables_of(place: Path, size: int) -> dict[str, Path]:
    """The data of each task as JSONL; of BBQ every so-many-th row, so that all categories and contexts are there."""
    place.mkdir(parents=True, exist_ok=True)
    truth, bias = (
        benchmark_tables.read_truthfulqa(str(DATA / "truthfulqa")),
        benchmark_tables.read_columns(str(DATA / "bbq")),
    )
    rows = {"truthfulqa_mc1": truth[:size], "truthfulqa_mc2": truth[:size], "bbq": spread(bias, size)}
    for task, found in rows.items():
        (place / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return {task: place / f"{task}.jsonl" for task in rows}


def spread(rows: Sequence[Row], size: int) -> list[Row]:
    """So many rows, mixed with a fixed seed."""
    return random.Random(0).sample(list(rows), min(size, len(rows)))


def compared(place: Path, files: dict[str, Path], way: str, size: int) -> Row:
    """The figures of one way against the harness's, and the largest difference."""
    theirs = harness(place, model(place, 0), files, size)
    out = place / f"{way.replace(' ', '-')}-{size}"
    if way == "over HTTP":
        with serve(completer(model(place, 0)), PORT) as server:
            ours = evaluated(out, files, size, {"model": "byte", "base_url": server.url, "connections": 2})
    else:
        folder = model(place, int(way == "another model"))
        ours = evaluated(out, files, size, {"model": str(folder), "device": "cpu", "dtype": "float32"})
    apart = {key: abs(ours[key] - value) for key, value in theirs.items()}
    return {
        "way": way,
        "documents": {
            task: min(size, len(file.read_text(encoding="utf-8").splitlines())) for task, file in files.items()
        },
        "figures": len(theirs),
        "largest difference": max(apart.values()),
        "shown": {key: [round(theirs[key], 6), round(ours[key], 6)] for key in theirs if "score_" not in key},
    }


def model(place: Path, seed: int) -> Path:
    """A small model of random weights that reads any text."""
    folder = place / f"model-{seed}"
    return folder if (folder / "config.json").exists() else tiny_models.byte_model(folder, seed=seed)


def task_files(files: dict[str, Path], where: Path) -> None:
    """Task files by which the harness reads local data with a loader of its own."""
    import lm_eval.tasks

    shipped = Path(lm_eval.tasks.__file__).parent
    where.mkdir(parents=True, exist_ok=True)
    for task, file in files.items():
        split = "test" if task == "bbq" else "validation"
        inside = "bbq/bbq_multiple_choice.yaml" if task == "bbq" else f"truthfulqa/{task}.yaml"
        config = {
            "include": str(shipped / inside),
            "task": f"their_{task}",
            "tag": None,
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {split: str(file)}, "cache_dir": str(where / "cache")},
        }
        (where / f"{task}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def harness(place: Path, folder: Path, files: dict[str, Path], size: int) -> dict[str, float]:
    """The figures of the harness's own command, kept for the next time. Raises RuntimeError."""
    out = place / f"harness-{size}"
    if not (found := sorted(out.rglob("results_*.json"))):
        task_files(files, place / "tasks")
        words = ["run", "--model", "hf", "--model_args", f"pretrained={folder},dtype=float32", "--device", "cpu"]
        words += ["--batch_size", "16", "--tasks", ",".join(f"their_{task}" for task in files), "--limit", str(size)]
        words += ["--include_path", str(place / "tasks"), "--output_path", str(out)]
        ended = subprocess.run(
            [sys.executable, "-m", "lm_eval", *words],
            capture_output=True, text=True, cwd=ROOT, check=False,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        if not (found := sorted(out.rglob("results_*.json"))):
            raise RuntimeError(ended.stderr[-2000:])
    results = json.loads(found[-1].read_text(encoding="utf-8"))["results"]
    return {
        f"{task}.{key.removesuffix(',none')}": float(value)
        for task in files
        for key, value in results[f"their_{task}"].items()
        if key.endswith(",none") and "_stderr" not in key and value == value
    }


def evaluated(out: Path, files: dict[str, Path], size: int, target: Row) -> dict[str, float]:
    """The figures of ``charter evaluate``. Raises RuntimeError."""
    listed = out.with_suffix(".yaml")
    asked = [{"task": task, "path": str(file), "limit": size} for task, file in files.items()]
    listed.write_text(yaml.safe_dump({"benchmarks": asked}), encoding="utf-8")
    words = [word for key, value in target.items() for word in ("--set", f"target.{key}={value}")]
    if (out / "HEAD").exists():
        ended = charter("show", str(out), "--json")
    else:
        asks = ("evaluate", target["model"], "--benchmarks", str(listed), "--out", str(out), "--json", "--quiet")
        ended = charter(*asks, *words)
    if ended.returncode != 0:
        raise RuntimeError(ended.stderr[-2000:])
    told = json.loads(ended.stdout)["benchmarks"]
    return {f"{figure['benchmark']}.{figure['name']}": figure["measured"]["value"] for figure in told}


def guessed(halved: bool) -> Row:
    """The share that random scorers get right on all questions."""
    rows, hits, n = benchmark_tables.read_truthfulqa(str(DATA / "truthfulqa")), 0, 0
    benchmark, step = DromedaryBenchmark("d", "truthfulqa", rows, halved=halved), Step("guess", 0)
    questions = benchmark.questions()
    for seed in range(SCORERS):
        draw = random.Random(f"{seed}|{halved}")

        def scorer(request: ScoreRequest, draw: random.Random = draw) -> float:
            del request
            return draw.gauss(-3.0, 1.0)

        answered = gather_answers(
            questions, (), list(score_completions(questions, ScriptedEngine(grader=scorer), step=step))
        )
        found = [bool(m.outcomes["accuracy"]) for m in benchmark.grade(answered)]
        hits, n = hits + sum(found), n + len(found)
    low, high = wilson(hits, n)
    name = "legacy_halved" if halved else "all candidates"
    expected = 0.414 if halved else 0.226
    return {
        "protocol": name,
        "scorers": SCORERS,
        "n": n,
        "share": hits / n,
        "low": low,
        "high": high,
        "expected": expected,
    }
