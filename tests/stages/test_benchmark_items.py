"""Scores, and the same by group: every judged answer counts once in each property that its prompt has."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.evals.metric_scores import score_metrics
from charter.evals.multiple_choice import DromedaryBenchmark
from charter.ports import BenchmarkQuestion
from charter.records.chat import user_prompt
from charter.records.measurements import Measurement, Metric
from charter.stages.benchmark_items import break_down_items
from charter.statistics import wilson

EVENTS = st.sampled_from([True, False, None])


METRICS = (Metric(name="good"), Metric(name="novel_bad", better="lower"))
BENCH = DromedaryBenchmark("bench", "truthfulqa", [])
BENCH.metrics = METRICS


def question(number: int, source: str, meta: dict[str, str]) -> BenchmarkQuestion:
    return BenchmarkQuestion.from_prompt(user_prompt(f"prompt {number}", 0, source, **meta))


ROW = st.tuples(
    st.sampled_from(["one", "two", ""]),
    st.fixed_dictionaries(
        {},
        optional={
            "category": st.sampled_from(["x", "y"]),
            "language": st.just("en"),
            "attack": st.sampled_from(["plain", "rhyme"]),
            "licence": st.just("CC0"),
        },
    ),
    st.dictionaries(st.sampled_from(["good", "novel_bad"]), EVENTS, min_size=1),
)


@settings(deadline=None)
@given(st.lists(ROW, max_size=30))
def test_the_cells_of_a_property_add_up_to_its_prompts(
    rows: list[tuple[str, dict[str, str], dict[str, bool | None]]],
) -> None:
    questions = [question(number, source, meta) for number, (source, meta, _) in enumerate(rows)]
    measured = [Measurement(id=q.id, outcomes=row[2]) for q, row in zip(questions, rows, strict=True)]
    attacked = any("attack" in meta for _, meta, _ in rows)
    cells = break_down_items(questions, measured, BENCH)
    assert len({cell.id for cell in cells}) == len(cells)
    assert {cell.by for cell in cells} <= {"category", "language", "source", "attack"}
    for by in ("category", "language", "source", "attack"):
        for metric in METRICS:
            own = [
                row[2][metric.name]
                for row in rows
                if metric.name in row[2]
                and (row[0] if by == "source" else row[1].get(by) or (by == "attack" and attacked))
            ]
            found = [cell for cell in cells if (cell.by, cell.metric) == (by, metric.name)]
            assert sum(cell.n for cell in found) == sum(event is not None for event in own)
            assert sum(cell.unjudged for cell in found) == own.count(None)
            assert sum(round((cell.value or 0) * cell.n) for cell in found) == own.count(True)
            assert {cell.better for cell in found} <= {metric.better}


def test_each_cell_has_an_interval_of_its_own_and_few_is_said() -> None:
    questions = [question(n, "s", {"category": "rare" if n < 9 else "common"}) for n in range(40)]
    measured = [Measurement(id=q.id, outcomes={"good": n % 3 > 0}) for n, q in enumerate(questions)]
    cells = {cell.group: cell for cell in break_down_items(questions, measured, BENCH) if cell.by == "category"}
    assert (cells["rare"].n, cells["rare"].is_small, cells["common"].is_small) == (9, True, False)
    assert cells["rare"].low == pytest.approx(wilson(6, 9)[0])
    whole = score_metrics(METRICS, measured, "bench")
    assert cells["rare"].low is not None
    assert whole[0].low is not None
    assert cells["rare"].low < whole[0].low


def test_where_nothing_could_be_judged_there_is_no_share() -> None:
    one = question(0, "s", {})
    (cell,) = break_down_items([one], [Measurement(id=one.id, outcomes={"good": None})], BENCH)
    assert (cell.value, cell.n, cell.low, cell.unjudged) == (None, 0, None, 1)


def test_copies_of_a_text_count_once_and_are_named() -> None:
    """Ten copies of each of fourteen texts have the interval of fourteen."""
    measured = [
        Measurement(id=user_prompt(f"text {number}", copy).id, outcomes={"good": number < 8})
        for number in range(14)
        for copy in range(10)
    ]
    (score,) = score_metrics(METRICS, measured, "bench")
    assert (score.n, score.value) == (14, 8 / 14)
    assert (score.low, score.high) == wilson(8, 14)
    assert score.note == "126 of 140 prompts are copies of others: a text counts once"
    (alone,) = score_metrics(METRICS, measured[::10], "bench")
    assert (alone.n, alone.note) == (14, "")
