"""A whole run on published red-team files: a small randomly initialised Qwen3, and a scripted judge and proposer."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from charter import cli
from charter.records.chat import Prompt
from charter.reports.integrity import verify_run
from charter.reports.page import render_page
from charter.runs.reader import RunReader
from charter.statistics import BreakdownCell
from tests.fakes import architectures
from tests.fakes.published_files import DATA, needs_data

pytestmark = pytest.mark.slow

SPEC = """\
target: {{model: {model}, device: cpu, dtype: float32, batch: 16}}
oracle: {{model: "python:tests.fakes.scripted_judge:proposer"}}
judge: {{model: "python:tests.fakes.scripted_judge:judge"}}
evaluator: {{model: "python:tests.fakes.scripted_judge:judge"}}
offline: true
prompts:
  redteam:
    - {{name: harmfulqa, path: {data}/harmfulqa, limit: 36}}
    - {{name: dangerousqa, path: {data}/dangerousqa, limit: 36}}
    - {{name: hh-rlhf, path: {data}/hh_rlhf, limit: 36}}
  helpful:
    - {{name: xstest, path: {data}/xstest, limit: 24}}
  gate: 12
  heldout: 32
  keep_out: {{category: {category}}}
options:
  draw: {{batch: 24, later: 10}}
  stop: {{iterations: 2, rule: data}}
  replay: {{ratio: 2, fresh: 12}}
  contrast: {{count: 2}}
  tune: {{rank: 4, alpha: 8, epochs: 1, learning_rate: 0.0001}}
scale: {{answer_tokens: 16, critique_tokens: 16, temperature: 1.0, stop: [e, a, o], row_tokens: 4096}}
"""
BLAMED = {f"blamed_{step}" for step in ("trials", "critiques", "revisions", "verdicts")}
MERGED = {f"merged_{step}" for step in ("forms", "addressed", "trials", "answers", "rechecks", "checks")}
UNHAPPENED = {"overreaching", "narrowed", "alarms", *BLAMED, *MERGED}
"""What follows only where a rule is to blame for refusals of its look-alikes, or where hardly a revision passes; chance
need not bring one. And what follows a merging: this proposer merges nothing."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    model = architectures.build(folder / "qwen3", "qwen3", context=4096)
    (folder / "spec.yaml").write_text(
        SPEC.format(model=model, data=DATA, category="Philosophy and Ethics"), encoding="utf-8"
    )
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", str(folder / "spec.yaml"), "--out", str(folder / "run"), "--quiet"])
    assert ended.value.code == 0
    return folder / "run"


@needs_data
def test_every_step_has_rows(run: Path) -> None:
    reading = RunReader(run)
    rows: Counter[str] = Counter()
    for step in reading.steps:
        rows[step.split("/")[1]] += len((run / f"{step}.jsonl").read_text(encoding="utf-8").splitlines())
    assert {name for name, count in rows.items() if not count} <= UNHAPPENED
    assert {"001/findings", "001/proposals", "001/revisions", "001/rows", "001/policy", "002/policy"} <= set(
        reading.steps
    )
    assert verify_run(run).ok
    assert reading.head


@needs_data
def test_prompts_of_all_three_sources_are_probed_and_dialogues_stay_dialogues(run: Path) -> None:
    drawn = RunReader(run).records("000/prompts", Prompt)
    assert {p.source for p in drawn} == {"harmfulqa", "dangerousqa", "hh-rlhf"}
    assert any(len(p.messages) > 2 for p in drawn if p.source == "hh-rlhf")
    assert {p.meta["licence"] for p in drawn} == {"MIT", "Apache-2.0"}
    assert "Philosophy and Ethics" not in {p.meta.get("category") for p in drawn}


@needs_data
def test_the_kept_out_category_is_scored_apart(run: Path) -> None:
    reading = RunReader(run)
    for side in ("000", "final"):
        cells = reading.records(f"{side}/heldout_breakdown", BreakdownCell)
        kept = {c.group for c in cells if c.by == "category" and c.metric == "novel_harmlessness"}
        usual = {c.group for c in cells if c.by == "category" and c.metric == "harmlessness"}
        assert kept == {"Philosophy and Ethics"}
        assert "Philosophy and Ethics" not in usual
        assert {c.group for c in cells if c.by == "source"} == {"harmfulqa", "dangerousqa", "hh-rlhf", "xstest"}


@needs_data
def test_the_run_says_that_its_scores_mean_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "Judge, proposer and evaluator are programs that the spec names"
    assert said in render_page(run)
    assert "the scores mean nothing" in (run / "report.html").read_text(encoding="utf-8")
    for words in (["show", str(run)], ["show", str(run), "--json"]):
        with pytest.raises(SystemExit):
            cli.main(words)
    shown, _, found = capsys.readouterr().out.partition("{")
    assert said in " ".join(shown.split())
    assert json.loads("{" + found)["generalisation"]["kept_out"]["category"] == "Philosophy and Ethics"
