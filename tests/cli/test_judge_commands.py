"""``charter judge``: from the command line to a run, for every shipped rubric and for an engine of one's own."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from charter.cli.app import app
from charter.errors import SpecError, StoreError
from charter.judging.rubrics import SHIPPED_RUBRICS, parse_rubric
from charter.organism.world import World
from tests.fakes.published_files import DATA, needs_data
from tests.fakes.recorded_run import SPEC

WORLD = World.load("village")
OF_WORLD = ("--set", "world=village", "--set", "judge.model=world")


def said(*words: str) -> str:
    found = CliRunner().invoke(app, ["judge", *words], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


@pytest.fixture(scope="module")
def exchanges(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Harmful requests with a plan or a refusal."""
    path, draw = tmp_path_factory.mktemp("labels") / "labels.jsonl", random.Random(3)
    with path.open("w", encoding="utf-8") as file:
        for prompt in WORLD.prompts("harmful", "gate")[:60]:
            topic, bad = WORLD.parse_prompt(prompt.text).topic, draw.random() < 0.5
            answer = WORLD.compliant_answer(topic, prompt.text) if bad else f"sorry , i will not help with {topic} ."
            row = {"prompt": prompt.text, "response": answer, "label": "violates" if bad else "complies"}
            file.write(json.dumps(row) + "\n")
    return str(path)


@pytest.mark.parametrize("rubric", ["conduct", "harm", "refusal", "guard", "policy"])
def test_a_world_without_errors_is_measured_as_such(exchanges: str, rubric: str, tmp_path: Path) -> None:
    (tmp_path / "policy.md").write_text("No help with crimes.", encoding="utf-8")
    more = ("--set", f"options.judge.policy={tmp_path / 'policy.md'}") if rubric == "policy" else ()
    files = ("--labelled", exchanges, "--injections", "--out", str(tmp_path / "run"), "--json", "--quiet")
    found = json.loads(said("calibrate", "--rubric", rubric, *OF_WORLD, *files, *more))["calibration"]
    assert found["rubric"].startswith(f"{rubric}@")
    assert (found["labels"]["sensitivity"]["value"], found["labels"]["specificity"]["value"]) == (1, 1)
    assert found["labels"]["kappa"] == pytest.approx(1)
    assert found["injections"]["flipped"] == []
    assert found["injections"]["share"]["n"] == 75


def test_the_same_again_is_shown_and_not_asked(exchanges: str, tmp_path: Path) -> None:
    words = ("calibrate", *OF_WORLD, "--labelled", exchanges, "--limit", "9", "--out", str(tmp_path / "run"))
    first = said(*words)
    assert "sensitivity: of what violates" in first
    assert "Labelled (rows), judged (columns)" in first
    journal = (tmp_path / "run" / "journal.jsonl").read_bytes()
    assert said(*words) == first
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == journal
    with pytest.raises(StoreError, match="another spec"):
        said(*words, "--rubric", "harm")


def test_changes_are_made_in_the_spec_that_is_given(exchanges: str, tmp_path: Path) -> None:
    """A change of the oracle reaches the judge, which is the oracle where the spec names no judge of its own."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC, encoding="utf-8")
    changes = ("--set", "oracle.errors.wrong_verdicts=1.0", "--set", "calibrate.fit=platt")
    words = ("--labelled", exchanges, "--limit", "20", "--out", str(tmp_path / "run"), "--json", "--quiet")
    found = json.loads(said("calibrate", str(spec), *changes, *words))["calibration"]
    kept = yaml.safe_load((tmp_path / "run" / "spec.yaml").read_text(encoding="utf-8"))
    assert kept["judge"]["errors"]["wrong_verdicts"] == 1.0
    assert kept["calibrate"]["fit"] == "platt"
    assert found["labels"]["sensitivity"]["value"] == 0


def test_a_judge_and_an_evaluator_are_taken_from_a_spec(exchanges: str, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    evaluator = {"model": "world", "errors": {"wrong_verdicts": 1.0}}
    given = {**yaml.safe_load(SPEC), "evaluator": evaluator, "options": {"judge": {"rubric": "harm", "retries": 0}}}
    spec.write_text(yaml.safe_dump(given), encoding="utf-8")
    shares = {}
    for role in ("judge", "evaluator"):
        words = ("calibrate", str(spec), "--role", role, "--labelled", exchanges, "--out", str(tmp_path / role))
        shares[role] = json.loads(said(*words, "--json", "--quiet"))["calibration"]["labels"]["accuracy"]["value"]
        asked = yaml.safe_load((tmp_path / role / "spec.yaml").read_text(encoding="utf-8"))
        assert asked["options"]["judge"] == {"rubric": "harm", "retries": 0}
    assert shares == {"judge": 1.0, "evaluator": 0.0}
    with pytest.raises(SpecError, match="needs no measure"):
        said("calibrate", "iteralign", "--role", "evaluator", "--labelled", exchanges)


def test_nothing_is_asked_on_a_dry_run(exchanges: str, tmp_path: Path) -> None:
    plan = json.loads(said("calibrate", *OF_WORLD, "--labelled", exchanges, "--dry-run", "--json"))
    assert plan["judge_calls"]["labelled"] == 60
    assert "labelled" in said("calibrate", *OF_WORLD, "--labelled", exchanges, "--dry-run")


@needs_data
def test_published_pairs_go_to_an_engine_of_ones_own(tmp_path: Path) -> None:
    """It takes the shorter response, whatever that is worth: the same in both orders, so no order bias."""
    files = ("--pairs", str(DATA / "hh_rlhf" / "harmless-base"), "--pairs", str(DATA / "hhh_alignment"))
    model = ("--model", "python:tests.fakes.scripted_judge:shorter", "--limit", "200")
    found: Any = json.loads(said("calibrate", *model, *files, "--out", str(tmp_path / "run"), "--json", "--quiet"))
    pairs = found["calibration"]["pairs"]
    assert pairs["right"] + pairs["wrong"] + pairs["first"] + pairs["second"] == 400
    assert pairs["first"] + pairs["second"] < 20
    assert pairs["unjudged"] == 0
    assert 0.3 < pairs["accuracy"]["low"] < pairs["accuracy"]["high"] < 0.8
    assert set(pairs["by_category"]) == {"", "harmless", "helpful", "honest", "other"}


def test_rubrics_are_listed_and_printed() -> None:
    listed = said("rubric")
    assert all(name in listed for name in SHIPPED_RUBRICS)
    text = said("rubric", "guard")
    assert (
        parse_rubric(text.replace("name: guard", "name: mine"), "f").categories == SHIPPED_RUBRICS["guard"].categories
    )
    assert CliRunner().invoke(app, ["judge", "rubric", "none"]).exit_code == 2


def test_both_readings_of_a_judge_are_compared_from_the_command_line(exchanges: str, tmp_path: Path) -> None:
    """A judge that is useless in words may be a good one by the probabilities of its labels."""
    model = ("--model", "python:tests.fakes.scripted_judge:cautious", "--rubric", "harm")
    where = ("--labelled", exchanges, "--read", "both", "--out", str(tmp_path / "run"))
    found: Any = json.loads(said("calibrate", *model, *where, "--json", "--quiet"))["calibration"]
    figures = {one["id"]: one for one in found["readings"]}
    assert figures["rationale"]["youden"] == 0
    assert figures["label"]["youden_low"] > 0.2
    assert 0.12 < found["fit"]["threshold"] < 0.5
    assert found["labels"]["specificity"]["value"] > 0.9
    assert "probabilities of labels" in said("calibrate", *model, *where)
    curve = ("--set", "calibrate.fit=isotonic", "--out", str(tmp_path / "curve"))
    read = ("--labelled", exchanges, "--read", "label", "--json", "--quiet")
    bent: Any = json.loads(said("calibrate", *model, *read, *curve))["calibration"]
    assert (bent["fit"]["kind"], bent["fit"]["knots"] != []) == ("isotonic", True)
    assert [one["id"] for one in bent["readings"]] == ["label"]
