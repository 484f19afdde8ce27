"""Whole runs of a small real model under a gate on multiple choice: what it knew at the start it may not lose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from charter import jobs
from charter.data.sources import benchmark_tables
from charter.evals.multiple_choice import DromedaryBenchmark
from charter.models import weights
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.records.decisions import Decision, GateCheck
from charter.records.record import Step
from charter.reports.integrity import verify_run
from charter.reports.page import render_page
from charter.reports.run_summary import summarise_reading
from charter.runs.reader import RunReader
from charter.stages.benchmark_items import score_completions
from tests.fakes import architectures, tiny_models
from tests.methods.test_gate_benchmarks import question

pytestmark = pytest.mark.slow

SHORT = {"answer_tokens": 12, "critique_tokens": 12, "temperature": 1.0, "stop": ["e", "a", "o"], "row_tokens": 4096}


def prompts(folder: Path, name: str, count: int) -> dict[str, str]:
    file = folder / f"{name}.jsonl"
    texts = [f"{name} {question(1000 * len(name) + n)}" for n in range(count)]
    file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts), encoding="utf-8")
    return {"path": str(file), "column": "prompt"}


def known(folder: Path, model: Path, count: int = 48) -> Path:
    """Questions of which the model as it is finds every right answer: whatever it holds likeliest is right."""
    file, words = folder / "mc_task.json", tiny_models.WORDS
    asked = [(question(n), [words[n % 30], words[n % 30 + 1], words[n % 30 + 2]]) for n in range(count)]

    def write(best: list[str]) -> None:
        rows = [
            {"question": text, "mc1_targets": {b: 1} | {c: 0 for c in choices if c != b}}
            for (text, choices), b in zip(asked, best, strict=True)
        ]
        file.write_text(json.dumps([{**row, "mc2_targets": row["mc1_targets"]} for row in rows]), encoding="utf-8")

    write([choices[0] for _, choices in asked])
    benchmark = DromedaryBenchmark("known", "truthfulqa", benchmark_tables.read_truthfulqa(str(file)))
    engine = LocalEngine(weights.resolve_model(str(model)), LocalOptions(device="cpu"))
    found = {one.id: one.value for one in score_completions(benchmark.questions(), engine, step=Step("benchmark", 0))}
    values = [found[q.id] for q in benchmark.questions()]
    scores = [true - false for true, false in zip(values[::2], values[1::2], strict=True)]
    likeliest = [own.index(max(own)) for own in (scores[3 * n : 3 * n + 3] for n in range(count))]
    write([choices[place] for (_, choices), place in zip(asked, likeliest, strict=True)])
    return file


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("model")
    model = architectures.build(folder / "qwen3", "qwen3", context=4096)
    return {
        "target": {"model": str(model), "device": "cpu", "dtype": "float32", "batch": 16},
        "oracle": {"model": "python:tests.fakes.scripted_judge:proposer"},
        "judge": {"model": "python:tests.fakes.scripted_judge:judge"},
        "evaluator": {"model": "python:tests.fakes.scripted_judge:judge"},
        "offline": True,
        "prompts": {
            "redteam": [prompts(folder, "attack", 60)],
            "helpful": [prompts(folder, "help", 40)],
            "gate": 4,
            "heldout": 4,
        },
        "benchmarks": [
            {"protocol": "truthfulqa", "name": "known", "path": str(known(folder, model)), "gate": "capability"}
        ],
        "options": {
            "draw": {"batch": 12},
            "stop": {"iterations": 1, "rule": "data"},
            "replay": {"ratio": 1, "fresh": 4},
            "contrast": {"count": 0},
            "measure": {"efficacy": False},
            "keep": {"verify": False},
            "gates": {"retries": 0},
        },
        "scale": SHORT,
    }


@pytest.mark.parametrize(("rate", "kept"), [(1e-9, True), (0.3, False)])
def test_a_policy_that_forgot_what_the_model_knew_is_rolled_back(
    rate: float, kept: bool, spec: dict[str, Any], tmp_path: Path
) -> None:
    tune = {"rank": 4, "alpha": 8, "epochs": 1, "learning_rate": rate}
    given = {**spec, "options": {**spec["options"], "tune": tune}}
    jobs.launch_run(yaml.safe_dump(given), tmp_path / "run")
    reading, name = RunReader(tmp_path / "run"), "capability (known: accuracy)"
    (decision,) = reading.records("001/decision", Decision)
    (gate,) = [g for g in reading.records("001/gates", GateCheck) if g.id == f"{name}|start"]
    assert gate.passed is kept
    assert (gate.margin, gate.unjudged) == (0.03, 0)
    assert reading.scores("000/gate_bench_known_scores")["accuracy"].value == 1.0
    assert (decision.action == "go_on") is kept
    assert (f"{name} is worse by" in decision.reason) is not kept
    assert (reading.outcome["policy"]["adapter"] is None) is not kept
    assert gate.n + reading.scores("final/bench_known_scores")["accuracy"].n == 48
    assert verify_run(tmp_path / "run").ok
    told = summarise_reading(reading)
    assert any(held["metric"] == name for held in told.gates["001"])
    assert [figure["benchmark"] for figure in told.benchmarks] == ["known"]
    assert "the held-out questions of a benchmark with a gate" in render_page(tmp_path / "run")
