"""Groups of one meaning: planted ones are found, their number is bounded, and what is alike is one group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from charter.similarity import vectors
from charter.similarity.vectors import FEWEST, find_nearest_groups, group_vectors, most_groups, standardize_vectors


def planted(groups: int, each: int, spread: float, seed: int) -> tuple[list[list[float]], list[int]]:
    """Vectors around so many middles that lie far apart, with a part that all have in common."""
    draw = np.random.default_rng(seed)
    middles = np.linalg.qr(draw.normal(size=(16, groups)))[0].T
    rows = np.concatenate([middle + spread * draw.normal(size=(each, 16)) for middle in middles]) + 5.0
    return rows.tolist(), [n for n in range(groups) for _ in range(each)]


@pytest.mark.parametrize("groups", [3, 5])
def test_planted_groups_are_found(groups: int) -> None:
    rows, truth = planted(groups, 12, 0.05, seed=groups)
    found = group_vectors(standardize_vectors(rows))
    assert len({(label, wanted) for label, wanted in zip(found, truth, strict=True)}) == len(set(found)) == groups


def test_without_structure_there_are_few_groups() -> None:
    rows = np.random.default_rng(1).normal(size=(100, 16)).tolist()
    assert 2 <= len(set(group_vectors(standardize_vectors(rows)))) <= most_groups(100) == 20


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(0, 5))
def test_every_text_has_a_group_and_there_are_never_too_many(count: int, seed: int) -> None:
    rows = standardize_vectors(np.random.default_rng(seed).normal(size=(count, 6)).tolist())
    found = group_vectors(rows)
    assert len(found) == count
    assert len(set(found)) <= most_groups(count)
    if count < FEWEST:
        assert len(set(found)) == 1


def test_equal_texts_are_one_group() -> None:
    assert set(group_vectors(standardize_vectors([[1.0, 2.0, 3.0]] * 9))) == {0}


@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_the_nearest_group_is_that_with_the_least_mean_distance(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "TOGETHER", 7)
    draw = np.random.default_rng(2)
    known, rows = (row / np.linalg.norm(row, axis=1)[:, None] for row in (draw.random((30, 5)), draw.random((20, 5))))
    labels = draw.integers(4, 9, 30)
    apart = np.array([[np.mean(1 - known[labels == label] @ row) for label in range(4, 9)] for row in rows])
    nearest, least = find_nearest_groups(form(rows), form(known), labels)
    assert nearest.tolist() == (apart.argmin(axis=1) + 4).tolist()
    assert least == pytest.approx(apart.min(axis=1))
    assert len(find_nearest_groups(form(rows[:0]), form(known), labels)[0]) == 0
