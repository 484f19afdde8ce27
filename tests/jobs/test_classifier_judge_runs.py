"""Runs whose judge is a sequence classifier, taught on the organism's answers: calibrated, red teaming, aligning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from charter import jobs
from charter.errors import SpecError
from charter.records.calibration_results import Calibration
from charter.records.chat import Exchange
from charter.records.verdicts import Verdict
from charter.reports.integrity import verify_run
from charter.reports.judge_trust import read_judge_trust
from charter.reports.page import render_page
from charter.runs.reader import RunReader
from charter.spec import OracleSpec, parse_spec
from tests.fakes import tiny_classifiers

pytestmark = pytest.mark.slow

SMALL = {
    "world": "village",
    "prompts": {"gate": 2, "heldout": 2},
    "target": {"device": "cpu"},
    "options": {"draw": {"batch": 48}},
}
CLASSES = {"conduct": {"bad": "harmful", "good": "acceptable"}}


def launch(folder: Path, *parts: dict[str, Any]) -> RunReader:
    spec: dict[str, Any] = {}
    for part in parts:
        spec |= part
    jobs.launch_run(yaml.safe_dump(spec), folder)
    return RunReader(folder)


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Exchange, Verdict]]:
    """What the organism answers, and what its world's oracle says of it."""
    folder = tmp_path_factory.mktemp("answered") / "run"
    run = launch(folder, SMALL, {"method": "red_team", "options": {"draw": {"batch": 160}}})
    verdicts = {v.id: v for v in run.records("001/verdicts", Verdict)}
    return [(e, verdicts[e.id]) for e in run.records("001/exchanges", Exchange)]


@pytest.fixture(scope="module")
def labelled(answered: list[tuple[Exchange, Verdict]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("labelled") / "known.jsonl"
    rows = [{"prompt": e.prompt.text, "response": e.response, "label": v.outcome} for e, v in answered[80:]]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def learn(folder: Path, answered: list[tuple[Exchange, Verdict]], kind: tiny_classifiers.Kind = "exclusive") -> Path:
    """A classifier that learnt on the first half of the answers."""
    named = {"exclusive": ("bad", "good"), "score": ("low", "high"), "independent": ("bad", "")}[kind]
    rows = [(e.response, named[v.outcome == "complies"]) for e, v in answered[:80]]
    return tiny_classifiers.build(folder, rows, kind)


@pytest.fixture(scope="module")
def classifier(answered: list[tuple[Exchange, Verdict]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learn(tmp_path_factory.mktemp("models") / "classifier", answered)


def judging(folder: Path, **more: Any) -> dict[str, Any]:
    return {"model": "none", "classifiers": [{"model": str(folder), "rubrics": CLASSES, "reads": "response"} | more]}


def test_a_classifier_is_calibrated_and_then_judges_a_run(classifier: Path, labelled: Path, tmp_path: Path) -> None:
    judge = judging(classifier)
    asks = {"method": "calibrate", "calibrate": {"labelled": [str(labelled)]}}
    launch(tmp_path / "known", asks, {"judge": judge})
    found = Calibration.model_validate_json((tmp_path / "known" / "calibration.json").read_bytes())
    assert found.judge.startswith("classifier:classifier@")
    assert found.judge.endswith("+ none")
    assert found.fit is not None
    assert found.labels is not None
    assert (found.labels.sensitivity.value or 0) + (found.labels.specificity.value or 0) > 1.5
    (reading,) = found.readings
    assert (reading.id, reading.prompts) == ("label", 80)
    run = launch(
        tmp_path / "run", SMALL, {"method": "red_team", "oracle": judge | {"calibration": str(tmp_path / "known")}}
    )
    verdicts = run.records("001/verdicts", Verdict)
    assert len(verdicts) == 48
    assert {v.threshold for v in verdicts} == {found.fit.threshold}
    assert {v.outcome for v in verdicts} == {"violates", "complies"}
    assert all(
        v.probability is not None and v.outcome == ("violates" if v.probability >= found.fit.threshold else "complies")
        for v in verdicts
    )
    asked = sum(e["calls"] for e in run.events if e["event"] == "asked" and e["step"] == "001/verdicts")
    assert asked == 48, "one call for each exchange, whatever its labels"
    assert verify_run(tmp_path / "run").ok
    render_page(tmp_path / "run")


def test_a_reward_model_needs_a_calibration_and_judges_by_its_threshold(
    answered: list[tuple[Exchange, Verdict]], labelled: Path, tmp_path: Path
) -> None:
    rubrics = {
        "conduct": {"high": "acceptable", "low": "harmful"},
        "compare": {"high": "better", "low": "worse"},
    }
    file, sides = tmp_path / "pairs.jsonl", {v.outcome: e.response for e, v in answered[80:]}
    pair = {"prompt": "q", "chosen": sides["complies"], "rejected": sides["violates"]}
    file.write_text(json.dumps(pair) + "\n", encoding="utf-8")
    judge = judging(learn(tmp_path / "reward", answered, "score"), rubrics=rubrics)
    wanted = SMALL | {"method": "red_team", "oracle": judge}
    with pytest.raises(SpecError, match="nothing tells where to cut it") as refused:
        jobs.forecast_run(parse_spec(yaml.safe_dump(wanted)))
    assert "charter judge calibrate" in refused.value.cure
    asks = {"labelled": [str(labelled)], "pairs": [str(file)], "fit": "platt"}
    launch(tmp_path / "known", {"method": "calibrate", "calibrate": asks, "judge": judge})
    found = Calibration.model_validate_json((tmp_path / "known" / "calibration.json").read_bytes())
    assert found.fit is not None
    assert found.fit.kind == "platt"
    assert found.fit.slope > 0
    assert found.pairs is not None
    assert (found.pairs.right, found.pairs.wrong, found.pairs.unjudged) == (1, 0, 0)
    run = launch(tmp_path / "run", wanted, {"oracle": judge | {"calibration": str(tmp_path / "known")}})
    assert {v.threshold for v in run.records("001/verdicts", Verdict)} == {found.fit.threshold}


def test_a_classifier_beside_the_oracle_aligns_the_organism(classifier: Path, tmp_path: Path) -> None:
    """The oracle proposes and judges by all other rubrics; the evaluator is the world's truth."""
    judge = {"model": "world", "classifiers": [{"model": str(classifier), "rubrics": CLASSES}]}
    options = {
        "draw": {"batch": 48},
        "stop": {"iterations": 1},
        "propose": {"verify": False},
        "measure": {"efficacy": False, "breadth": False},
        "contrast": {"count": 2},
    }
    run = launch(tmp_path / "run", SMALL, {"judge": judge, "options": options})
    verdicts, checks = (run.records(f"001/{step}", Verdict) for step in ("verdicts", "checks"))
    assert all(v.probability is not None for v in verdicts)
    assert checks
    assert all(v.probability is None and v.rubric == "replay" for v in checks), "the oracle is asked in words"
    rechecks = run.records("001/rechecks", Verdict)
    assert rechecks
    assert all(v.probability is not None for v in rechecks)
    assert verify_run(tmp_path / "run").ok


def test_texts_that_were_cut_are_counted(
    labelled: Path, answered: list[tuple[Exchange, Verdict]], tmp_path: Path
) -> None:
    folder = tiny_classifiers.build(
        tmp_path / "short",
        [(e.response, "bad" if v.outcome == "violates" else "good") for e, v in answered[:40]],
        context=6,
    )
    run = launch(tmp_path / "run", SMALL, {"method": "red_team", "oracle": judging(folder)})
    cut = sum(v.cut > 0 for v in run.records("001/verdicts", Verdict))
    assert 0 < cut <= 48
    assert any(f"read {cut} of 48 answers in part" in line for line in read_judge_trust(run).warnings)


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({"options": {"judge": {"rubric": "harm"}}}, "its classifiers do not judge: harm"),
        ({"method": "iteralign"}, "whatever else `iteralign` asks a judge"),
        ({"rubrics": {"conduct": {"bad": "harmful"}}}, "its classes: bad, good"),
        ({"rubrics": {"manners": {"bad": "harmful", "good": "acceptable"}}}, "manners: no such rubric"),
        ({"evaluated": True}, "evaluator.model is none, and its classifiers do not judge: replay"),
        ({"calibrate": {"pairs": ["x"]}, "method": "calibrate"}, "nothing compares two responses"),
        ({"calibrate": {"both_readings": True, "labelled": ["x"]}, "method": "calibrate"}, "no two readings"),
    ],
)
def test_what_a_classifier_cannot_judge_is_refused_before_a_run(
    spec: dict[str, Any], fault: str, classifier: Path
) -> None:
    more = dict(spec)
    judge = judging(classifier, **{"rubrics": more.pop("rubrics")} if "rubrics" in more else {})
    asked = {"evaluator": judge} if more.pop("evaluated", False) else {"method": "red_team", "oracle": judge}
    wanted = SMALL | asked | more
    with pytest.raises(SpecError, match=fault):
        jobs.forecast_run(parse_spec(yaml.safe_dump(wanted)))


@pytest.mark.parametrize(
    ("role", "fault"),
    [
        ({"judge": {"model": "none"}}, "name a model, or give classifiers"),
        ({"judge": {"classifiers": [{"model": "x", "rubrics": CLASSES}] * 2}}, "one classifier judges by a rubric"),
        ({"proposer": {"classifiers": [{"model": "x", "rubrics": CLASSES}]}}, "proposer.classifiers: it writes"),
    ],
)
def test_roles_that_make_no_sense_are_faults_of_the_spec(role: dict[str, Any], fault: str) -> None:
    with pytest.raises(SpecError, match=fault):
        parse_spec(yaml.safe_dump({"world": "village"} | role))


def test_reports_call_a_judge_by_its_classifiers_and_its_model() -> None:
    alone = OracleSpec.model_validate({"model": "none", "classifiers": [{"model": "x", "rubrics": CLASSES}]})
    beside = alone.model_copy(update={"model": "y"})
    assert (alone.display_name, beside.display_name, beside.in_words.display_name) == ("x", "x + y", "y")
    assert sorted(beside.model_names - alone.model_names) == ["y"]
    assert len({alone.weights_digest, beside.weights_digest, beside.in_words.weights_digest}) == 3
