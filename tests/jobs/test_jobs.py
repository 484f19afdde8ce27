"""Jobs: each method of a spec has one, they share a shape, and a run of each ends in the same way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from charter import jobs
from charter.errors import SpecError
from charter.jobs.alignment_job import METHODS, AlignmentJob
from charter.jobs.job import SCRATCH_DIRS, finish_run
from charter.jobs.job_builder import build_job
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import Request
from charter.records.model_refs import ModelRef
from charter.runs.reader import RunReader
from charter.spec import Spec, parse_spec
from charter.wiring.targets import Targets
from tests.fakes import scripted_run

VILLAGE = "version: 1\nworld: village\ntemplates: world\n"


def test_every_method_of_a_spec_has_one_job() -> None:
    named = set(get_args(Spec.model_fields["method"].annotation))
    assert named == {*METHODS, "audit", "calibrate", "evaluate", "self_instruct"}


@pytest.mark.parametrize("method", ["red_team", "iteralign", "self_instruct"])
def test_a_job_describes_forecasts_and_prepares_before_anything_is_asked(method: str) -> None:
    job = build_job(parse_spec(VILLAGE + f"method: {method}\n"))
    assert job.forecast()["method"] == method
    assert [*job.prepare()] == []
    assert isinstance(job, AlignmentJob) == (method in METHODS)


def test_a_forecast_counts_what_the_step_before_writes() -> None:
    spec = parse_spec(VILLAGE + "method: iteralign\n")
    alone, after = (jobs.forecast_run(spec, written)["prompts"]["redteam"] for written in (0, 7))
    assert after == alone + 7


def test_the_end_of_a_run_publishes_its_outcome_and_its_page_and_leaves_no_scratch_folder(tmp_path: Path) -> None:
    with scripted_run.begin(tmp_path / "run", spec_text=VILLAGE) as run:
        for name in SCRATCH_DIRS:
            (run.directory / name).mkdir()
        finish_run(run, {"world": None, "method": "iteralign"}, {"notes.txt": "kept\n"})
    reading = RunReader(tmp_path / "run")
    assert reading.head is not None
    assert reading.outcome == {"method": "iteralign", "world": None}
    assert (tmp_path / "run" / "notes.txt").read_text() == "kept\n"
    assert "<html" in (tmp_path / "run" / "report.html").read_text().lower()
    assert not any((tmp_path / "run" / name).exists() for name in SCRATCH_DIRS)


def test_a_policy_of_a_run_is_placed_under_its_folder_and_another_one_stays_where_it_is() -> None:
    start = ModelRef(base="b", base_digest="d", digest="d")
    policy = start.under("001/policy")
    assert start.at_root(Path("/runs/one")) == start
    assert policy.at_root(Path("/runs/one")).adapter == "/runs/one/001/policy"
    assert start.under("/elsewhere/adapter").at_root(Path("/runs/one")).adapter == "/elsewhere/adapter"
    assert policy.model_copy(update={"adapter": None}) == start


def test_a_metered_target_is_asked_on_the_ledger_of_the_run_from_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = parse_spec(VILLAGE)
    start = ModelRef(base="b", base_digest="d", digest="d")
    targets, placed = Targets(spec, start), list[str | None]()

    class Local(ScriptedEngine):
        device = "cpu"

        def use_policy(self, policy: ModelRef) -> Local:
            placed.append(policy.adapter)
            return self

    monkeypatch.setitem(targets._local, "d", Local(lambda request: "yes"))
    with scripted_run.begin(tmp_path / "run", spec_text=VILLAGE) as run:
        with targets.open_metered(run, start.under("001/policy")) as engine:
            answers = list(engine.generate([Request(id="a", messages=())]))
        calls = [json.loads(line) for line in (run.directory / "journal.jsonl").read_text().splitlines()]
    assert [answer.text for answer in answers] == ["yes"]
    assert placed == [str(tmp_path / "run" / "001/policy")]
    assert any(event.get("role") == "target" for event in calls)


def test_what_does_not_go_on_from_the_end_of_a_run_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    with scripted_run.begin(tmp_path / "old", spec_text=VILLAGE + "method: red_team\n") as run:
        finish_run(run, {}, {})
    with pytest.raises(SpecError, match="self_instruct does not go on"):
        jobs.continue_run(tmp_path / "old", tmp_path / "new", VILLAGE + "method: self_instruct\n")
    assert not (tmp_path / "new").exists()
