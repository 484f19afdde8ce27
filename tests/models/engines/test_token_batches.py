"""Which rows go through the model together, bounded by rows, padded tokens and logits, and what they share."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.models.engines.token_batches import (
    FLOOR,
    LEAST_SAVED,
    LEAST_SHARED,
    PADDING,
    BatchBounds,
    BatchRow,
    form_batches,
    group_by_beginning,
    plan_batches,
)

BOUNDS = BatchBounds(64, 4096)


def lengths(sizes: list[int], bounds: BatchBounds, kept: list[int] | None = None) -> list[int]:
    return [len(batch) for batch in form_batches(sizes, bounds, kept or [1] * len(sizes))]


def row(*ids: int) -> BatchRow:
    return BatchRow([*ids], len(ids) - 1)


def test_batches_are_bounded_by_rows_by_padded_tokens_and_by_logits() -> None:
    assert lengths([4] * 20, BatchBounds(8, 1024)) == [8, 8, 4]
    assert lengths([512] * 5, BatchBounds(8, 1024)) == [2, 2, 1]
    assert lengths([300, 200, 200, 200, 200], BatchBounds(8, 4096, 700), [300, 1, 1, 1, 1]) == [2, 3]
    assert lengths([900, 900], BatchBounds(64, 4096, 100), [900, 900]) == [1, 1]
    assert lengths([9000, 9000], BOUNDS) == [1, 1], "a row that is too long goes alone"


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=300), st.integers(1, 80), st.integers(1, 9000))
def test_every_row_is_in_one_batch_and_no_bound_is_broken(sizes: list[int], rows: int, tokens: int) -> None:
    sizes.sort(reverse=True)
    batches = form_batches(sizes, BatchBounds(rows, tokens), [1] * len(sizes))
    assert [place for batch in batches for place in batch] == [*range(len(sizes))]
    for batch in batches:
        padded, real = len(batch) * sizes[batch[0]], sum(sizes[place] for place in batch)
        assert len(batch) <= rows
        assert len(batch) == 1 or padded <= tokens
        assert padded - real <= PADDING * real or padded <= FLOOR * tokens


def test_real_lengths_are_padded_by_less_than_15_percent_beyond_one_batch() -> None:
    """Lengths as prompts have them: a median of 43 tokens, some of hundreds, one of 1,349. In batches of 64 they were
    padded more than fourfold."""
    draw = random.Random(0)
    sizes = sorted([1349, *(max(5, round(draw.lognormvariate(3.8, 0.9))) for _ in range(255))], reverse=True)

    def padded(batches: list[list[int]]) -> int:
        return sum(len(batch) * sizes[batch[0]] for batch in batches)

    assert padded([[*range(n, n + 64)] for n in range(0, 256, 64)]) > 4 * sum(sizes)
    found = form_batches(sizes, BOUNDS, [1] * len(sizes))
    assert padded(found) <= 1.15 * sum(sizes) + BOUNDS.tokens
    assert len(found[0]) <= 2, "a long prompt stands apart"


def test_rows_that_share_a_long_beginning_are_one_group() -> None:
    draw, system = random.Random(1), [*range(100, 140)]
    rows = [row(*system, *(draw.randrange(90) for _ in range(1 + n % 9))) for n in range(40)]
    groups = group_by_beginning(rows)
    assert [(group.shared, len(group.places)) for group in groups] == [(40, 40)]
    assert group_by_beginning(rows[:3])[0].shared == 0, "three rows save too little"
    brief = [row(*range(LEAST_SHARED - 1), 90 + n) for n in range(99)]
    assert group_by_beginning(brief)[0].shared == 0


def test_subjects_with_exemplars_of_their_own_are_groups_of_their_own() -> None:
    """Few-shot questions of several subjects behind one system turn, and others that share nothing."""
    system = [*range(1000, 1020)]
    subjects = [[*system, *range(2000 * n, 2000 * n + 300)] for n in (1, 2, 3)]
    rows = [row(*subjects[n % 3], n % 7, n, 5) for n in range(30)] + [row(*system, n, 1) for n in range(40)]
    rows += [row(n, 7) for n in range(5)]
    groups = group_by_beginning(rows)
    assert sorted((group.shared, len(group.places)) for group in groups) == [(0, 5), (20, 40), *[(320, 10)] * 3]
    assert sorted(place for group in groups for place in group.places) == [*range(75)]
    for group in groups:
        assert len({tuple(rows[place].ids[: group.shared]) for place in group.places}) == 1


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=60), max_size=80), st.integers(0, 40))
def test_groups_hold_every_row_once_and_share_what_may_be_shared(tails: list[list[int]], same: int) -> None:
    rows = [BatchRow([7] * same + tail, same + len(tail) - 1) for tail in tails]
    groups = group_by_beginning(rows)
    assert sorted(place for group in groups for place in group.places) == [*range(len(rows))]
    for group in groups:
        assert len({tuple(rows[place].ids[: group.shared]) for place in group.places}) == 1
        assert all(group.shared <= rows[place].shareable for place in group.places)
        assert group.shared == 0 or (len(group.places) - 1) * group.shared >= LEAST_SAVED


def test_what_may_not_be_shared_is_read_whole() -> None:
    rows = [BatchRow([*range(50), n], 0) for n in range(30)]
    assert [(group.shared, len(group.places)) for group in group_by_beginning(rows)] == [(0, 30)]
    assert plan_batches([], BOUNDS) == []


@pytest.mark.parametrize("rows", [[[*range(n)] for n in range(1, 400)], [[5] * n for n in range(1, 400)]])
def test_beginnings_within_beginnings_end(rows: list[list[int]]) -> None:
    plans = plan_batches([row(*ids) for ids in rows], BOUNDS)
    assert sorted(place for plan in plans for batch in plan.batches for place in batch) == [*range(len(rows))]
    for plan in plans:
        assert all(rows[place][: len(plan.beginning)] == plan.beginning for batch in plan.batches for place in batch)
