"""What a plan says that a judge will be asked, against what a run then asked of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from charter import jobs
from charter.jobs.alignment_forecast import forecast_iteralign
from charter.runs.reader import RunReader
from charter.similarity.vectors import most_groups
from charter.spec import parse_spec
from tests.fakes import tiny_models
from tests.fakes.openai_server import Server, serve
from tests.models.engines.test_label_requests import place, weighed

pytestmark = pytest.mark.slow

SMALL = {"world": "village", "prompts": {"gate": 2, "heldout": 2}, "target": {"device": "cpu"}}
DRAW = {"draw": {"batch": 12}}
MEASURED = {
    "draw": {"batch": 80},
    "stop": {"iterations": 1},
    "propose": {"verify": False},
    "replay": {"fresh": 4},
    "gates": {"roll_back": False},
    "tune": {"learning_rate": 0.003, "epochs": 1},
}


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """In words every answer is acceptable; as a label it is likely so."""
    if "logprobs" in body:
        return weighed(place("acceptable", -0.1, harmful=-3.0, dishonest=-4.0))
    return {"text": json.dumps({"rationale": "", "label": "acceptable", "severity": 0})}


@contextmanager
def judges(kind: str, folder: Path) -> Iterator[tuple[dict[str, Any], Server | None]]:
    if kind == "server":
        with serve(answer) as server:
            yield {"model": "m", "base_url": server.url}, server
    else:
        yield {"model": str(tiny_models.byte_model(folder / "judge", context=4096)), "device": "cpu"}, None


def spent(folder: Path) -> dict[str, int]:
    """Calls that were answered, by role and purpose; what was asked ahead and not made is asked again, and no call."""
    found: dict[str, int] = {}
    for event in RunReader(folder).events:
        if event["event"] == "answered" and event["purpose"] != "target":
            key = f"{event['role']} {event['purpose']}"
            found[key] = found.get(key, 0) + event["calls"]
    return found


@pytest.mark.parametrize(("kind", "read"), [("server", "label"), ("process", "label"), ("server", "rationale")])
def test_red_teaming_asks_as_often_as_was_said(kind: str, read: str, tmp_path: Path) -> None:
    with judges(kind, tmp_path) as (judge, server):
        options = DRAW | {"judge": {"read": read}}
        text = yaml.safe_dump(SMALL | {"method": "red_team", "oracle": judge, "options": options})
        plan = jobs.forecast_run(parse_spec(text))
        jobs.launch_run(text, tmp_path / "run")
        assert plan["oracle_calls_at_most"] == (12 if read == "rationale" else 2 * 12 + 2 * 2)
        assert spent(tmp_path / "run") == {"judge aligning": plan["oracle_calls_at_most"]}
        if server is not None:
            assert len(server.seen) == plan["oracle_calls_at_most"]


@pytest.mark.parametrize("kind", ["server", "process"])
def test_a_calibration_asks_as_often_as_was_said(kind: str, tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n}", "response": f"a{n}", "label": "harmful" if n % 2 else "acceptable"} for n in range(10)]
    file = tmp_path / "known.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    both = kind == "server"
    with judges(kind, tmp_path) as (judge, server):
        asks = {"labelled": [str(file)], "both_readings": both}
        options = {"judge": {"read": "label"}}
        text = yaml.safe_dump({"method": "calibrate", "judge": judge, "calibrate": asks, "options": options})
        plan = jobs.forecast_run(parse_spec(text))
        jobs.launch_run(text, tmp_path / "run")
        assert plan["calls"] == 2 * 10 + 2 * 2 + 10 * both
        assert spent(tmp_path / "run") == {"judge measuring": plan["calls"]}
        assert server is None or len(server.seen) == plan["calls"]


def test_injections_take_no_more_than_was_said(tmp_path: Path) -> None:
    with judges("server", tmp_path) as (judge, server):
        options = {"judge": {"read": "label"}}
        asks = {"injections": True}
        text = yaml.safe_dump({"method": "calibrate", "judge": judge, "calibrate": asks, "options": options})
        plan = jobs.forecast_run(parse_spec(text))
        jobs.launch_run(text, tmp_path / "run")
        assert server is not None
        assert 0 < len(server.seen) <= plan["calls"]


def test_an_iteration_asks_no_more_than_was_said(tmp_path: Path) -> None:
    """By purpose, for the steps whose verdicts are counted."""
    options = DRAW | {
        "judge": {"read": "label"},
        "stop": {"iterations": 1},
        "measure": {"efficacy": False, "breadth": False},
        "replay": {"fresh": 6},
        "contrast": {"count": 2},
        "propose": {"candidates": 1, "retries": 1},
    }
    roles = {"judge": {"model": "python:tests.fakes.scripted_judge:cautious"}}
    text = yaml.safe_dump(SMALL | {"oracle": {"model": "world"}, "options": options} | roles)
    plan = jobs.forecast_run(parse_spec(text))["oracle_calls_at_most_per_iteration"]
    jobs.launch_run(text, tmp_path / "run")
    took: dict[str, int] = {}
    for event in RunReader(tmp_path / "run").events:
        if event["event"] == "asked" and event["role"] == "judge" and event["purpose"] == "aligning":
            name = event["step"].removeprefix("001/")
            took[name] = took.get(name, 0) + event["calls"]
    assert took["verdicts"] == plan["verdicts"] == 2 * 12 + 4
    assert 0 < took["rechecks"] <= plan["rechecks"]
    assert 0 < took.get("helps", 1) <= plan["second rubric"]
    assert 0 < took["checks"] <= plan["replay checks"]
    addressed = sum(calls for name, calls in took.items() if name.endswith("_addressed"))
    assert 0 < addressed <= plan["whom wordings address"]
    assert sum(took.values()) <= sum(plan.values())


def test_an_iteration_that_measures_its_rules_asks_no_more_than_was_said(tmp_path: Path) -> None:
    """Answers of the target, and calls of the oracle, those that measure rules among them."""
    text = yaml.safe_dump(SMALL | {"templates": "world", "scale": "organism", "options": MEASURED})
    plan = jobs.forecast_run(parse_spec(text))
    jobs.launch_run(text, tmp_path / "run")
    took: dict[str, int] = {}
    for event in RunReader(tmp_path / "run").events:
        if event["event"] == "answered":
            took[event["purpose"]] = took.get(event["purpose"], 0) + event["calls"]
    assert took["measuring"] > 0
    assert took["aligning"] + took["measuring"] <= plan["oracle_calls_at_most"]
    unmeasured = 2 * plan["prompts"]["heldout"] + 2 * plan["prompts"]["gate"] + 3 * 80
    assert unmeasured < took["target"] <= plan["answers_to_generate_at_most"]


def test_clusters_by_meaning_are_bounded(tmp_path: Path) -> None:
    """As many as a batch can give: by words that is not known, and what is said is what is to be expected."""
    counts = []
    for embedder in ("none", str(tmp_path)):
        text = yaml.safe_dump(SMALL | {"oracle": {"model": "world"}, "options": DRAW, "embedder": embedder})
        counts.append(jobs.forecast_run(parse_spec(text))["oracle_calls_at_most_per_iteration"]["look-alikes"])
    assert counts == [1, most_groups(12)]


def test_no_more_ordinary_prompts_are_answered_anew_than_there_are() -> None:
    spec = parse_spec("world: village\noptions: {replay: {fresh: 48}, contrast: {count: 0}}\n")
    sizes = {"redteam": 12, "gate": 2, "heldout": 2}
    few, many = (forecast_iteralign(spec, "conduct", {**sizes, "helpful": helpful}) for helpful in (5, 500))
    checks = [plan["oracle_calls_at_most_per_iteration"]["replay checks"] for plan in (few, many)]
    assert checks == [5, 48]
    assert many["answers_to_generate_at_most"] - few["answers_to_generate_at_most"] == 48 - 5
