"""Scores, and the same by group: every judged answer counts once in each property that its prompt has."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.records.chat import Exchange, Prompt, Sampling, user_prompt
from charter.records.measurements import Measurement, Metric, Split
from charter.records.record import Step
from charter.stages.evaluator_scores import break_down_scores, compute_scores
from charter.statistics import wilson

STEP = Step("000/heldout_breakdown", 0)
EVENTS = st.sampled_from([True, False, None])


class Bench:
    """Two metrics, graded elsewhere."""

    identity = "bench"
    metrics = (Metric(name="good"), Metric(name="novel_bad", better="lower"))

    def prompts(self, split: Split) -> Sequence[Prompt]:
        raise NotImplementedError

    def grade(self, exchanges: Sequence[Exchange], done: Collection[str] = ()) -> Iterator[Measurement]:
        raise NotImplementedError


def exchange(number: int, source: str, meta: dict[str, str]) -> Exchange:
    prompt = user_prompt(f"prompt {number}", 0, source, **meta)
    return Exchange(id=prompt.id, prompt=prompt, response="", stop="stop", model="m", sampling=Sampling())


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
    exchanges = [exchange(number, source, meta) for number, (source, meta, _) in enumerate(rows)]
    measured = [Measurement(id=e.id, outcomes=row[2]) for e, row in zip(exchanges, rows, strict=True)]
    cells = break_down_scores(exchanges, measured, Bench())
    assert len({cell.id for cell in cells}) == len(cells)
    assert {cell.by for cell in cells} <= {"category", "language", "source", "attack"}
    for by in ("category", "language", "source", "attack"):
        for metric in Bench.metrics:
            own = [
                row[2][metric.name]
                for row in rows
                if metric.name in row[2] and (row[0] if by == "source" else row[1].get(by))
            ]
            found = [cell for cell in cells if (cell.by, cell.metric) == (by, metric.name)]
            assert sum(cell.n for cell in found) == sum(event is not None for event in own)
            assert sum(cell.unjudged for cell in found) == own.count(None)
            assert sum(round((cell.value or 0) * cell.n) for cell in found) == own.count(True)
            assert {cell.better for cell in found} <= {metric.better}


def test_each_cell_has_an_interval_of_its_own_and_few_is_said() -> None:
    exchanges = [exchange(n, "s", {"category": "rare" if n < 9 else "common"}) for n in range(40)]
    measured = [Measurement(id=e.id, outcomes={"good": n % 3 > 0}) for n, e in enumerate(exchanges)]
    cells = {cell.group: cell for cell in break_down_scores(exchanges, measured, Bench()) if cell.by == "category"}
    assert (cells["rare"].n, cells["rare"].is_small, cells["common"].is_small) == (9, True, False)
    assert cells["rare"].low == pytest.approx(wilson(6, 9)[0])
    whole = compute_scores(measured, Bench())
    assert cells["rare"].low is not None
    assert whole[0].low is not None
    assert cells["rare"].low < whole[0].low


def test_where_nothing_could_be_judged_there_is_no_share() -> None:
    one = exchange(0, "s", {})
    (cell,) = break_down_scores([one], [Measurement(id=one.id, outcomes={"good": None})], Bench())
    assert (cell.value, cell.n, cell.low, cell.unjudged) == (None, 0, None, 1)


def test_copies_of_a_text_count_once_and_are_named() -> None:
    """Ten copies of each of fourteen texts have the interval of fourteen."""
    measured = [
        Measurement(id=user_prompt(f"text {number}", copy).id, outcomes={"good": number < 8})
        for number in range(14)
        for copy in range(10)
    ]
    (score,) = compute_scores(measured, Bench())
    assert (score.n, score.value) == (14, 8 / 14)
    assert (score.low, score.high) == wilson(8, 14)
    assert score.note == "126 of 140 prompts are copies of others: a text counts once"
    (alone,) = compute_scores(measured[::10], Bench())
    assert (alone.n, alone.note) == (14, "")
