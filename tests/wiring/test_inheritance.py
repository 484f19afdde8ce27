"""A finished run is gone on from: a rule that people take back is followed after it. Real training on the organism."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from charter import jobs
from charter import spec as specs
from charter.constitution import document as articles
from charter.errors import SpecError, StoreError
from charter.records.verdicts import Verdict
from charter.reports.integrity import verify_run
from charter.reports.norm_compliance import read_norm_compliance
from charter.reports.page import render_page
from charter.reports.run_summary import summarise_run
from charter.runs import Run
from charter.runs.reader import RunReader

pytestmark = pytest.mark.slow

SMALL = {
    "prompts.heldout": "12",
    "prompts.gate": "24",
    "options.measure.efficacy": "false",
    "options.measure.breadth": "false",
    "options.stop.iterations": "1",
}


def spec_text(**more: str) -> str:
    return specs.change_spec(specs.list_recipes()["iteralign"].read_text(encoding="utf-8"), SMALL | more)


@pytest.fixture(scope="module")
def first(aligned_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that refuses what its rules forbid."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    shutil.copytree(aligned_run, folder)
    return folder


@pytest.fixture(scope="module")
def second(first: Path) -> Path:
    """A run that goes on from it after people took its first rule back."""
    folder = first.with_name("second")
    old = first.with_name("old")
    shutil.copytree(first, old)
    key = taken_back(first)
    with Run.open(old) as run:
        run.record_human_decision("retire", principle=key, note="norms change")
    jobs.continue_run(old, folder, spec_text())
    shutil.rmtree(old)  # nothing of it is needed any more
    jobs.resume_run(folder)
    return folder


def taken_back(first: Path) -> str:
    """The rule about an activity with the most failures."""
    rules = [p for p in RunReader(first).constitution.active if "plan" in p.text]
    return max(rules, key=lambda p: len(p.because)).id


def test_what_people_took_back_is_followed_and_the_report_shows_it(first: Path, second: Path) -> None:
    (row,) = read_norm_compliance(RunReader(second))
    assert (row.id, row.holds) == (taken_back(first), False)
    assert row.n >= 8
    assert row.before <= row.n / 4, "the first run's policy refuses"
    assert row.after is not None
    assert row.after >= row.n * 3 / 4, "the second run's policy helps again"
    assert row.p is not None
    assert row.p < 0.05
    assert summarise_run(second).norms == [row.model_dump(mode="json")]
    assert "What people decided, and whether it is followed" in render_page(second)
    assert verify_run(second).ok


def test_the_rule_stays_out_and_its_rows_are_gone(first: Path, second: Path) -> None:
    key, reading = taken_back(first), RunReader(second)
    rule = reading.constitution.principle(key)
    assert (rule.status, rule.by) == ("retired", "people")
    changes = [a for _, a in reading.amendments if a.by == "people"]
    assert [(a.action, a.principles, a.reason) for a in changes] == [("retired", (key,), "norms change")]
    assert all(v.outcome == "complies" for v in reading.records("001/allowed_checks", Verdict))


def test_a_run_goes_on_from_a_finished_run_of_the_same_base_alone(first: Path, tmp_path: Path) -> None:
    with Run.create(tmp_path / "begun", spec_text=spec_text()):
        pass
    with pytest.raises(StoreError, match="not finished"):
        jobs.continue_run(tmp_path / "begun", tmp_path / "new", spec_text())
    other = tmp_path / "amended.yaml"
    other.write_text("- [", encoding="utf-8")
    with pytest.raises(SpecError, match="not YAML"):
        jobs.continue_run(first, tmp_path / "new", spec_text(), other)
    assert not (tmp_path / "new").exists()


def test_without_a_decision_a_run_goes_on_with_rules_rows_and_policy(first: Path, tmp_path: Path) -> None:
    amended = tmp_path / "same.yaml"
    amended.write_text(articles.to_yaml(RunReader(first).constitution), encoding="utf-8")
    jobs.continue_run(first, tmp_path / "new", spec_text(), amended)
    from charter.constitution.run_state import RunState

    (old,) = RunReader(first).records("final/handover", RunState)
    (new,) = RunReader(tmp_path / "new").records("inherited/handover", RunState)
    assert new.constitution == old.constitution
    assert (new.examples, new.replay_rows, new.policy.digest) == (old.examples, old.replay_rows, old.policy.digest)
    assert new.policy.adapter == "inherited/handover"
