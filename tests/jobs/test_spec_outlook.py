"""Before a run begins: what fits, how fast the target is, and what it costs at most."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from charter.cli.app import app
from charter.errors import SpecError
from charter.jobs.spec_outlook import OutlookLine, look_ahead, measure_speed
from charter.models import memory_forecast
from charter.spec import parse_spec
from charter.wiring.components import Components
from tests.fakes import tiny_models


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    """A tiny model, prompts of one's own, and an oracle with a price."""
    for name in ("red", "kind"):
        rows = (json.dumps({"prompt": f"the {name} prompt number {n} about {n * n} things"}) for n in range(60))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    priced = {"model": "openai/none", "price_in": 2.0, "price_out": 10.0}
    return {
        "target": {"model": str(tiny_models.build(tmp_path / "model")), "device": "cpu"},
        "oracle": priced,
        "evaluator": priced,
        "prompts": {side: [{"path": str(tmp_path / f"{file}.jsonl")}] for side, file in SIDES.items()},
        "scale": {"answer_tokens": 16, "row_tokens": 64},
        "budget": {"calls": 100},
    }


SIDES = {"redteam": "red", "helpful": "kind"}


def look(spec: dict[str, Any], **more: Any) -> dict[str, OutlookLine]:
    return {line.what: line for line in look_ahead(yaml.safe_dump({"version": 1, **spec, **more}), 2.0)}


def test_what_fits_is_measured_and_priced(spec: dict[str, Any]) -> None:
    found = look(spec)
    assert not any(line.mend for line in found.values())
    assert "M parameters in float32 on cpu" in found["target"].found
    assert "are free" in found["memory to train"].found
    assert re.match(r"tokens [\d.]+ a (second|minute)", found["speed"].found)
    assert found["time"].found.startswith("answering takes at most")
    assert "at most about" in found["judge and proposer"].found
    assert "at most about" in found["evaluator"].found
    assert found["budget"].found.startswith("100 calls")


def test_what_does_not_fit_is_said_and_not_loaded(spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_forecast, "read_free_memory", lambda device: 1000)
    found = look(spec)
    assert found["memory"].mend.startswith("The weights alone do not fit")
    assert found["speed"].found.startswith("not measured")
    weights = Path(spec["target"]["model"]).joinpath("model.safetensors").stat().st_size
    monkeypatch.setattr(memory_forecast, "read_free_memory", lambda device: weights + 1000)
    assert look(spec)["memory to train"].mend.startswith("Batches of this length do not fit")


def test_oracles_of_this_process_count_beside_the_target(
    spec: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "memory of oracles" not in look(spec)
    judge = {"model": str(tiny_models.build(tmp_path / "judge"))}
    shared = look(spec, oracle=judge, evaluator=judge)["memory of oracles"]
    apart = look(spec, oracle=judge, evaluator={**judge, "batch": 2})["memory of oracles"]
    assert (shared.mend, apart.mend) == ("", "")
    assert shared.found.count("judge") == 1
    assert apart.found.count("judge") == 2
    monkeypatch.setattr(memory_forecast, "read_free_memory", lambda device: 2**20)
    tight = look(spec, oracle=judge, evaluator=judge)
    assert tight["memory of oracles"].mend.startswith("They do not fit beside the target")
    gone = look(spec, oracle={"model": str(tmp_path / "nowhere")})["memory of oracles"]
    assert "cannot be counted" in gone.found


@pytest.mark.parametrize("read", ["rationale", "label"])
def test_a_judge_of_this_process_is_timed(read: str, spec: dict[str, Any], tmp_path: Path) -> None:
    assert "time of oracles" not in look(spec), "a hosted judge is not asked"
    judge = {"model": str(tiny_models.build(tmp_path / "judge")), "sampling": {"max_tokens": 8}}
    told = look(spec, oracle=judge, options={"judge": {"read": read}})["time of oracles"]
    assert told.mend == ""
    counts = re.match(r"a call for a verdict takes [\d.e-]+ s \((\d+) in [\d.]+ s\); ([\d,]+) calls take", told.found)
    assert counts, told.found
    assert int(counts[1]) > 1
    proposer = {"proposer": {"model": "openai/none"}, "judge": judge, "options": {"judge": {"read": read}}}
    assert "a call for a verdict" in look(spec, **proposer)["time of oracles"].found


def test_a_judge_that_does_not_fit_is_not_loaded(
    spec: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = {"model": str(tiny_models.build(tmp_path / "judge"))}
    monkeypatch.setattr(memory_forecast, "read_free_memory", lambda device: 2**20)
    assert "time of oracles" not in look(spec, oracle=judge, evaluator=judge)


def test_a_budget_of_hours_that_is_too_small_is_named(spec: dict[str, Any]) -> None:
    found = look(spec, budget={"hours": 1e-6})
    assert "budget.hours is 1e-06" in found["time"].mend
    assert "no limit" in found["budget"].found


def test_a_price_that_nobody_knows_is_asked_for(spec: dict[str, Any]) -> None:
    assert "give price_in" in look(spec, oracle={"model": "openai/none"})["judge and proposer"].found


def test_the_target_answers_no_longer_than_it_may(spec: dict[str, Any]) -> None:
    longer = {**spec, "scale": {"answer_tokens": 2000, "row_tokens": 64}, "version": 1}
    longer["target"] = {**spec["target"], "context": 2048}
    components = Components(parse_spec(yaml.safe_dump(longer)))
    assert measure_speed(components, 1e-9).amount < measure_speed(components, 60).amount


def test_a_server_is_not_measured(spec: dict[str, Any]) -> None:
    served = {"model": "m", "base_url": "http://127.0.0.1:9/v1"}
    found = look(spec, target=served, method="red_team")
    assert "server" in found["memory and speed"].found
    assert "speed" not in found


def test_another_method_is_left_to_the_dry_run(tmp_path: Path) -> None:
    measured = {"method": "calibrate", "world": "village", "calibrate": {"injections": True}, "version": 1}
    (found,) = look_ahead(yaml.safe_dump(measured))
    assert "--dry-run" in found.found
    with pytest.raises(SpecError):
        look_ahead("version: 1\nmethod: nothing\n")


def test_doctor_takes_a_spec_and_exits_with_what_is_to_be_mended(
    spec: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"version": 1, **spec}), encoding="utf-8")
    done = CliRunner().invoke(app, ["doctor", str(tmp_path / "a.yaml"), "--json"])
    assert done.exit_code == 0, done.output
    assert "speed" in {row["what"] for row in json.loads(done.stdout)}
    monkeypatch.setattr(memory_forecast, "read_free_memory", lambda device: 1000)
    done = CliRunner().invoke(app, ["doctor", str(tmp_path / "a.yaml")])
    assert done.exit_code == 1
    assert "alone do not fit" in " ".join(done.stdout.split())
