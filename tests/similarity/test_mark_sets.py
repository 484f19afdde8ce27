"""Sets of marks in one array: the same whether it lies in memory or in a file."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import numpy as np
import pytest

from charter.errors import StoreError
from charter.similarity import mark_sets
from charter.similarity.mark_sets import ArrayFile, MarkSets, sort_sets, stack_marks


def make_sets(count: int) -> list[np.ndarray]:
    """Sets of 0 to 20 marks."""
    source = random.Random(4)
    return [
        np.unique(np.array([source.randrange(1 << 64) for _ in range(source.randint(0, 20))], np.uint64))
        for _ in range(count)
    ]


def stack(sets: list[np.ndarray]) -> MarkSets:
    """Sets, given one at a time."""
    return stack_marks(MarkSets(own, np.array([0, len(own)])) for own in sets)


@pytest.mark.parametrize("limit", [64, 1 << 20])
def test_an_array_is_the_same_in_memory_and_in_a_file(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mark_sets, "IN_MEMORY", limit)
    file = ArrayFile("i4")
    file.write([3, 4])
    file.write(np.arange(100, dtype=np.int64), 40)
    file.write([7], 2)
    found = file.read()
    assert found.dtype == np.int32
    assert found.tolist() == [3, 4, 7, *[0] * 37, *range(100)]
    assert ArrayFile().read().tolist() == []


def test_an_array_that_finds_no_room_says_where_it_is_to_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "away"))
    monkeypatch.setattr(mark_sets, "IN_MEMORY", 64)
    file = ArrayFile()
    file.write(np.zeros(8, np.uint64))
    with pytest.raises(StoreError, match=r"cannot be written to .*away.*\n.*TMPDIR"):
        file.write(np.zeros(8, np.uint64))


@pytest.mark.usefixtures("limits")
def test_sets_are_sorted_by_size_and_keep_their_order() -> None:
    sets = make_sets(200)
    found, order = sort_sets(stack(sets))
    assert order.tolist() == sorted((n for n in range(200) if len(sets[n])), key=lambda n: len(sets[n]))
    assert found.sizes.tolist() == [len(sets[n]) for n in order]
    assert found.marks.tolist() == np.concatenate([sets[n] for n in order]).tolist()
