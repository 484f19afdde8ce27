"""Rows of like lengths in batches, drawn anew for each epoch."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from charter.models.tuners.length_order import SPREAD, LengthOrder


@given(st.lists(st.integers(1, 2000), max_size=70), st.integers(1, 9), st.integers(0, 3))
def test_every_row_comes_once_in_batches_of_like_lengths(lengths: list[int], batch: int, seed: int) -> None:
    order = list(LengthOrder(lengths, batch, seed, lambda: 0))
    assert sorted(order) == list(range(len(lengths)))
    batches = [[lengths[place] for place in order[at : at + batch]] for at in range(0, len(order), batch)]
    for one, two in combinations(batches, 2):
        reaches = min(max(one) / min(two), max(two) / min(one))
        assert reaches <= 1 + SPREAD + 1e-9, "one batch holds the longer rows, but for the spread"
    if lengths:
        assert max(batches[0]) * (1 + SPREAD) >= max(lengths), "memory runs out at once, if it does"


def test_the_order_hangs_on_seed_and_epoch_alone() -> None:
    lengths, epoch = [n * n % 97 + 10 for n in range(60)], 0
    one = LengthOrder(lengths, 4, 1, lambda: epoch)
    first, again = list(one), list(one)
    epoch = 1
    second, other = list(one), list(LengthOrder(lengths, 4, 2, lambda: 1))
    assert first == again
    assert len({tuple(order) for order in (first, second, other)}) == 3
    epoch = 0
    assert list(one) == first
    assert {frozenset(first[at : at + 4]) for at in range(0, 60, 4)} != {
        frozenset(second[at : at + 4]) for at in range(0, 60, 4)
    }, "rows meet other rows in another epoch"
