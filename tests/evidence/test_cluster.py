"""The arithmetic of a run on a cluster: it asks what a dry run says, and is bound where charter binds."""

from __future__ import annotations

import pytest
from bench import cluster
from evidence.cluster import find_seconds

from charter import jobs
from charter.jobs.alignment_forecast import forecast_iteralign
from charter.spec import list_recipes, read_spec

SHARES = {"answers": 0.5, "calls": 0.5, "rows": 0.3, "records": 0.5, "failing": 0.2}


@pytest.mark.slow
def test_what_is_asked_is_what_a_dry_run_says() -> None:
    spec = read_spec(list_recipes()["iteralign"])[0]
    plan = jobs.forecast_run(spec)
    asked = forecast_iteralign(spec, spec.options.judge.rubric, plan["prompts"])
    assert asked == {key: plan[key] for key in asked}
    assert cluster.count_work(spec, plan) == cluster.count_work(spec, asked)


def test_twice_the_prompts_take_twice_the_work_and_charter_binds_a_large_cluster() -> None:
    small, large = (cluster.simulate(1, "8b", prompts, SHARES) for prompts in (100_000, 200_000))
    assert large.answering == pytest.approx(2 * small.answering, rel=0.1)  # clusters grow as the root of the prompts
    assert large.judging == pytest.approx(2 * small.judging, rel=0.1)
    assert large.memory > small.memory > cluster.BASE_MIB
    node, many, most = (cluster.simulate(gpus, "8b", 100_000, SHARES) for gpus in (8, 64, 1_000_000))
    assert node.judging == pytest.approx(small.judging / 8)
    assert many.answering == pytest.approx(small.answering / 64)
    bound = cluster.WORKER_SECONDS * cluster.MODELS["8b"].tokens / 512
    assert most.answering == pytest.approx(small.answering * bound), "charter's own core binds"
    assert node.training == most.training == pytest.approx(small.training / cluster.NODE_GPUS)


def test_a_larger_model_takes_longer_on_the_same_gpus() -> None:
    assert cluster.simulate(8, "70b", 10_000, SHARES).seconds > 2 * cluster.simulate(8, "8b", 10_000, SHARES).seconds


def test_a_table_has_a_line_for_each_size() -> None:
    lines = cluster.tabulate("8b", 10_000, 2.0, SHARES, (1, 8)).splitlines()
    assert len(lines) == 2 + 2
    cells = [cell.strip().replace(",", "") for cell in lines[2].strip("|").split("|")]
    assert cells[0] == "1"
    assert float(cells[7]) == pytest.approx(2 * float(cells[6]), abs=2)


def test_two_runs_give_the_seconds_of_one_more_of_each() -> None:
    def played(times: int) -> dict[str, float]:
        counts = {"answers of the target": 10 * times, "calls of the oracle": 5 * times, "training rows": 4 * times}
        spent = {"target model, s": 1 + 20 * times, "oracle, s": 5 * times, "tuning, s": 3 + 8 * times}
        own = 2 + 0.1 * 30 * times
        return {**counts, "records": 30 * times, **spent, "whole run, s": sum(spent.values()) + own}

    found = find_seconds(played(1), played(2))
    units = (found.answer, found.call, found.row, found.record, found.fixed)
    assert units == pytest.approx((2, 1, 2, 0.1, 1 + 3 + 2))
