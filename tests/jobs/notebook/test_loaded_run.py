"""A run as an object: typed records, frames and figures, finished or not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import charter
from charter.errors import DamagedError, StoreError
from charter.jobs.chain_job import create_chain
from charter.records.chat import Exchange
from charter.records.verdicts import Verdict
from charter.runs import Run
from charter.spec import split_chain
from tests.fakes.recorded_run import SPEC, Tale, exchange, give, plain, tell


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that was made of given records."""
    return tell(tmp_path_factory.mktemp("told") / "run")


def test_a_finished_run_says_what_it_holds(told: Path) -> None:
    run = charter.load(told)
    assert run.finished
    assert run.iterations == ("001",)
    assert "001/exchanges" in run.steps
    assert run.constitution.principles[0].id == "p-1"
    assert run.summary.method == run.spec.method == "iteralign"
    assert run.audit is None
    assert run.calibration is None
    assert repr(run) == f"LoadedRun({str(told)!r}: iteralign, finished)"


def test_records_have_their_types(told: Path) -> None:
    run = charter.load(str(told))
    exchanges = list(run.records("001/exchanges"))
    assert all(isinstance(found, Exchange) for found in exchanges)
    assert [found.id for found in run.records("001/exchanges", Exchange)] == [f"x{i}" for i in range(6)]
    assert run.frame("001/verdicts")["outcome"].tolist() == ["violates"] * 6 + ["unjudged"]


def test_a_step_that_is_not_there_is_told_with_those_that_are(told: Path) -> None:
    with pytest.raises(StoreError, match="has no step 001/answer") as refused:
        charter.load(told).records("001/answer")
    assert "001/answers" in refused.value.cure


def test_scores_before_and_after_have_their_intervals(told: Path) -> None:
    table = charter.load(told).scores().set_index("metric")
    row = table.loc["harmlessness"]
    assert (row["before"], row["after"], row["n_before"], row["n_after"]) == (0.25, 0.75, 40, 40)
    assert row["before_low"] < 0.25 < row["before_high"] < row["after_low"] < 0.75 < row["after_high"]
    assert row["change"] == 0.5
    assert row["change_low"] < 0.5 < row["change_high"]
    assert row["p_holm"] < 0.001
    assert table.loc["over_refusal", "better"] == "lower"
    whole = charter.load(told).score_table()
    assert set(whole["split"]) == {"gate", "heldout"}
    assert "category" in set(whole["by"])


def test_an_unfinished_run_gives_what_it_has(tmp_path: Path) -> None:
    run = charter.load(tell(tmp_path / "run", Tale(finished=False)))
    assert not run.finished
    assert "not finished, at 001/decision" in repr(run)
    table = run.scores().set_index("metric")
    assert table.loc["honesty", "before"] == 0.25
    assert table[["after", "change"]].isna().all().all()


def test_records_of_a_step_under_way_are_read(tmp_path: Path) -> None:
    """Its type is that of the same step in another iteration, or is given."""
    with Run.create(tmp_path / "run", spec_text=SPEC) as begun:
        give(begun, "001/exchanges", [exchange("x0", plain, "answer")])

        def fail(items: list[Exchange], *, step: object) -> list[Exchange]:
            del step
            raise KeyboardInterrupt

        fail.__annotations__["return"] = list[Exchange]
        for name in ("exchanges", "verdicts"):
            with pytest.raises(KeyboardInterrupt):
                begun.steps("002").once(name, fail, [exchange("x1", plain, "answer")])
    (tmp_path / "run" / "002").mkdir(exist_ok=True)
    half = exchange("x1", plain, "answer").model_dump_json()
    (tmp_path / "run" / "002" / "exchanges.jsonl").write_text(half + "\n", encoding="utf-8")
    run = charter.load(tmp_path / "run")
    assert [found.id for found in run.records("002/exchanges")] == ["x1"]
    assert list(run.records("002/verdicts", Verdict)) == []
    with pytest.raises(StoreError, match="is not finished") as refused:
        run.records("002/verdicts")
    assert "`kind`" in refused.value.cure


def test_a_changed_record_is_damage(told: Path, tmp_path: Path) -> None:
    run = tell(tmp_path / "run")
    path = run / "001" / "exchanges.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("answer x1", "answer y1"), encoding="utf-8")
    with pytest.raises(DamagedError, match=r"exchanges\.jsonl"):
        charter.load(run).records("001/exchanges")


def test_where_there_is_no_run_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no run"):
        charter.load(tmp_path)


def test_of_a_chain_the_last_step_that_has_begun_is_loaded(tmp_path: Path) -> None:
    text = "version: 1\nworld: village\nsteps: [{method: think}, {method: engrave}, {method: clone}]\n"
    create_chain(text, tmp_path / "chain")
    with pytest.raises(StoreError, match="first step has not begun"):
        charter.load(tmp_path / "chain")
    folders = [name for name, _ in split_chain(text)]
    for name in folders[:2]:
        tell(tmp_path / "chain" / name)
    assert charter.load(tmp_path / "chain").path == tmp_path / "chain" / folders[1]


def test_a_rule_is_followed_to_its_failures(golden_run: Callable[[str], Path]) -> None:
    run = charter.load(golden_run("iteralign"))
    rule = next(p for p in run.constitution.principles if p.because)
    found = run.explain("principle", rule.id)
    assert {failure.id for failure in found.runs[0].failures} == set(rule.because)
    with pytest.raises(StoreError, match="has no principle"):
        run.explain("principle", "p-none")
