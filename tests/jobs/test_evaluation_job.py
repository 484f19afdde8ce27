"""The method ``evaluate``: benchmarks of a spec, put to a model, from the spec to the scores."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from charter import jobs
from charter.cli.app import app
from charter.errors import SpecError
from charter.organism.world import World
from charter.records.chat import Exchange
from charter.records.measurements import Measurement, Score, SkippedBenchmark
from charter.runs.reader import RunReader
from charter.spec import JudgingSpec
from charter.statistics import BreakdownCell

WORLD = World.load("village")
BASE: dict[str, Any] = {
    "method": "evaluate",
    "world": "village",
    "target": {"device": "cpu"},
    "scale": {"answer_tokens": 48},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Harmful requests, and a set with two sides in XSTest's columns."""
    where = tmp_path_factory.mktemp("files")
    harmful = [p.text for p in WORLD.prompts("harmful", "heldout")[:12]]
    benign = [p.text for p in WORLD.prompts("benign", "heldout")[:12]]
    (where / "harmful.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in harmful))
    with (where / "xstest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["prompt", "label", "type", "focus"])
        table.writerows([[text, "safe", "ordinary", ""] for text in benign])
        table.writerows([[text, "unsafe", "plans", ""] for text in harmful])
    return where


def evaluated(out: Path, benchmarks: list[dict[str, Any]], **more: Any) -> RunReader:
    jobs.launch_run(yaml.safe_dump({**BASE, "benchmarks": benchmarks, **more}), out)
    return RunReader(out)


def test_judged_benchmarks_of_a_model(files: Path, tmp_path: Path) -> None:
    harmful = [{"path": str(files / "harmful.jsonl")}]
    asked = [
        {"judged": "harmlessness", "prompts": harmful, "styles": ["plain", "role_play"]},
        {"judged": "over_refusal", "prompts": [{"name": "xstest", "path": str(files / "xstest.csv")}]},
        {"judged": "helpfulness", "prompts": harmful},
    ]
    run = evaluated(tmp_path / "run", asked)
    harm = run.scores("000/bench_harmlessness_scores")["harmlessness"]
    assert (harm.n, harm.unjudged) == (24, 0)
    cells = {(c.by, c.group): c for c in run.records("000/bench_harmlessness_cells", BreakdownCell)}
    assert cells["attack", "role_play"].n == 12
    exchanges = run.records("000/bench_harmlessness_exchanges", Exchange)
    assert sum("attack" not in e.prompt.meta for e in exchanges) == 12
    assert {e.prompt.meta["parent"] for e in exchanges if "attack" in e.prompt.meta} <= {e.id for e in exchanges}
    sides = run.scores("000/bench_over_refusal_xstest_scores")
    assert {name: score.n for name, score in sides.items()} == dict.fromkeys(
        ["safe_refused", "safe_partly", "unsafe_refused", "unsafe_partly"], 12
    )
    assert [
        (lack.id, "starting model" in lack.reason) for lack in run.records("000/bench_left_out", SkippedBenchmark)
    ] == [("helpfulness", True)]
    assert run.outcome["method"] == "evaluate"
    assert run.head


def test_what_judges_in_a_world_errs_on_nothing(files: Path, tmp_path: Path) -> None:
    asked = [{"judged": "harmlessness", "prompts": [{"path": str(files / "harmful.jsonl")}]}]
    run = evaluated(tmp_path / "run", asked)
    judged = {m.id: m.outcomes["harmlessness"] for m in run.records("000/bench_harmlessness_measurements", Measurement)}
    refused = {e.id: e.response.startswith("sorry") for e in run.records("000/bench_harmlessness_exchanges", Exchange)}
    assert any(refused.values())
    assert [key for key, refusal in refused.items() if refusal and not judged[key]] == []
    (score,) = run.records("000/bench_harmlessness_scores", Score)
    assert score.value == pytest.approx(sum(map(bool, judged.values())) / 12)


@pytest.mark.parametrize(
    ("benchmark", "said"),
    [
        ({"judged": "harmlessness"}, "has no prompts"),
        ({}, "is one benchmark"),
        ({"judged": "harmlessness", "task": "x", "prompts": [{"path": "x"}]}, "is one benchmark"),
        ({"protocol": "hhh", "path": "x", "legacy_halved": True}, "scoring TruthfulQA"),
        ({"protocol": "hhh", "path": "x", "fewshot": 2}, "has fewshot"),
        ({"name": "a b", "protocol": "hhh", "path": "x"}, "needs a name"),
        ({"judged": "harmlessness", "prompts": [{"path": "x"}], "styles": ["no_such"]}, "no style 'no_such'"),
        ({"judged": "harmlessness", "prompts": [{"path": "x"}], "styles": ["invention"]}, "needs an attacker"),
    ],
)
def test_what_does_not_fit_is_said(benchmark: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        jobs.launch_run(yaml.safe_dump({**BASE, "benchmarks": [benchmark]}), Path("never"))


def test_from_the_command_line_and_as_a_report(files: Path, tmp_path: Path) -> None:
    listed = tmp_path / "benchmarks.yaml"
    data = {"question": "q", "mc1_targets": {"a": 1, "b": 0, "c": 0}, "mc2_targets": {"a": 1, "b": 0, "c": 0}}
    (tmp_path / "mc.jsonl").write_text((json.dumps(data) + "\n") * 3)
    listed.write_text(
        yaml.safe_dump(
            [
                {"protocol": "truthfulqa", "path": str(tmp_path / "mc.jsonl"), "legacy_halved": True},
                {
                    "name": "styles",
                    "judged": "harmlessness",
                    "prompts": [{"path": str(files / "harmful.jsonl"), "limit": 4}],
                    "styles": ["plain", "role_play"],
                },
            ]
        )
    )
    sets = ("world=village", "target.device=cpu", "scale.answer_tokens=48")
    words = ["evaluate", "organism", "--benchmarks", str(listed), "--out", str(tmp_path / "run")]
    for said in sets:
        words += ["--set", said]
    planned = CliRunner().invoke(app, [*words, "--dry-run"], catch_exceptions=False)
    assert "log likelihoods" in planned.stdout
    plan = json.loads(CliRunner().invoke(app, [*words, "--dry-run", "--json"], catch_exceptions=False).stdout)
    assert plan["log_likelihoods"] == {"dromedary_truthfulqa_legacy_halved": 3 * 2 * 2}
    assert plan["questions"] == {"styles": 4 * 2}
    tries = 1 + JudgingSpec().retries
    assert plan["judge_calls_at_most"] == {"styles": 4 * 2 * tries}
    assert plan["judge_calls_at_most_in_all"] == 4 * 2 * tries
    assert not (tmp_path / "run").exists()
    shown = CliRunner().invoke(app, words, catch_exceptions=False)
    assert shown.exit_code == 0
    assert "dromedary_truthfulqa_legacy_halved" in shown.stdout
    assert "measured" in shown.stdout
    assert "before" not in shown.stdout
    told = json.loads(CliRunner().invoke(app, ["show", str(tmp_path / "run"), "--json"]).stdout)
    figures = {(f["benchmark"], f["name"]): f for f in told["benchmarks"]}
    halved = figures["dromedary_truthfulqa_legacy_halved", "accuracy"]["measured"]
    assert (halved["n"], halved["note"].split(":")[0]) == (3, "legacy_halved")
    assert {f[side] for f in told["benchmarks"] for side in ("before", "after")} == {None}, "one model, one column"
    styles = figures["styles", "harmlessness"]["measured"]
    assert styles["n"] == 8
    assert styles["low"] < styles["value"] < styles["high"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<h2>Benchmarks</h2>" in page
    assert "role_play" in page
    assert page.count("legacy_halved: as the published script has it") >= 1


@pytest.mark.parametrize(
    ("text", "said"), [("a: [", "is not YAML"), ("a: 1", "no list of benchmarks"), ("[1]", "no list of benchmarks")]
)
def test_a_file_that_names_no_benchmarks_is_said(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(text)
    with pytest.raises(SpecError, match=said):
        CliRunner().invoke(app, ["evaluate", "x", "--benchmarks", str(tmp_path / "b.yaml")], catch_exceptions=False)
