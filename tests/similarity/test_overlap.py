"""Which sets of marks overlap: the same as where every two are compared, with little work."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.similarity import overlap
from charter.similarity.mark_sets import MarkSets, stack_marks
from charter.similarity.overlap import find_near, iterate_near, join_groups, link_near_sets, link_sharing_sets
from charter.similarity.set_index import SetIndex
from charter.similarity.wordings import CHARACTERS, WordBatch, character_grams, cut_batches, word_trigrams
from tests.similarity.small_parts import make_parts_small

Sets = Sequence[Sequence[int]]
SPREAD = 0x9E3779B97F4A7C15
"""Small numbers times this fall into different slots; without it all fall into one."""


def stack(sets: Sets, factor: int = SPREAD) -> MarkSets:
    """Sets of small numbers as sets of marks."""
    marks = (np.unique(np.array([mark * factor % 2**64 for mark in own], np.uint64)) for own in sets)
    return stack_marks(MarkSets(own, np.array([0, len(own)])) for own in marks)


def compare_all(one: Sets, other: Sets, threshold: float) -> list[list[bool]]:
    """Every set of the one compared with every set of the other."""
    pairs = [[(set(a), set(b)) for b in other] for a in one]
    return [[bool(a & b) and len(a & b) / len(a | b) >= threshold - 1e-9 for a, b in row] for row in pairs]


def find_pairs(one: SetIndex, other: SetIndex) -> list[tuple[int, int]]:
    """All near pairs of two indexes."""

    def want_all(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.ones(len(one), bool)

    return sorted(
        (int(a), int(b)) for left, right in iterate_near(one, other, want_all) for a, b in zip(left, right, strict=True)
    )


def make_random_sets(source: random.Random) -> Sets:
    """Sets of marks of which some are much commoner than others, of all sizes, with copies that differ a little."""
    marks, common = range(200), [1 / (n + 1) for n in range(200)]
    sets = [source.choices(marks, common, k=source.randint(0, 40)) for _ in range(60)]
    return [*sets, *([mark if source.random() < 0.9 else source.choice(marks) for mark in own] for own in sets)]


def make_adversarial_sets(source: random.Random) -> Sets:
    """Sets that share a large common part and differ in a few marks; one within another; many that are equal."""
    form = list(range(30))
    filled = [[*form, *source.choices(range(100, 140), k=source.randint(1, 25))] for _ in range(60)]
    return [*filled, *(form[:n] for n in range(30)), *([7],) * 5, *([],) * 3, *(filled[0],) * 4]


@pytest.mark.parametrize("make", [make_random_sets, make_adversarial_sets])
@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.58, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("factor", [1, SPREAD])
@pytest.mark.usefixtures("limits")
def test_near_pairs_are_those_that_comparing_all_of_them_finds(
    make: Callable[[random.Random], Sets], threshold: float, factor: int
) -> None:
    sets = make(random.Random(3))
    near = compare_all(sets, sets, threshold)
    index = SetIndex(stack(sets, factor), threshold)
    assert find_pairs(index, index) == [(a, b) for a, b in sorted_pairs(index, len(sets)) if near[a][b]], (
        "each pair once, the smaller set first"
    )
    asked = sets[::3]
    few = SetIndex(stack(sets[1::2], factor), threshold)
    assert find_near(stack(asked, factor), few).tolist() == [any(row[1::2]) for row in near[::3]]


def sorted_pairs(index: SetIndex, count: int) -> list[tuple[int, int]]:
    """Every two sets once, in the order of the index."""
    place = {int(number): n for n, number in enumerate(index.order)}
    return [(a, b) for a in range(count) for b in range(count) if place.get(a, count) < place.get(b, -1)]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.frozensets(st.integers(0, 30), max_size=25), max_size=25),
    st.lists(st.frozensets(st.integers(0, 30), max_size=25), max_size=25),
    st.sampled_from([0.05, 0.5, 0.58, 2 / 3, 0.75, 0.8, 1.0]),
)
def test_whatever_the_sets_the_near_ones_are_found(
    one: list[frozenset[int]], other: list[frozenset[int]], threshold: float
) -> None:
    asked, held = [sorted(own) for own in one], [sorted(own) for own in other]
    with pytest.MonkeyPatch.context() as patch:
        make_parts_small(patch)
        found = find_near(stack(asked), SetIndex(stack(held), threshold))
    assert found.tolist() == [any(row) for row in compare_all(asked, held, threshold)]


@pytest.mark.usefixtures("limits")
def test_groups_are_the_chains_of_near_sets_of_which_one_is_an_anchor() -> None:
    sets = make_random_sets(random.Random(5))
    near = compare_all(sets, sets, 0.5)
    anchors = np.arange(len(sets)) % 3 > 0
    pairs = [(a, b) for a in range(len(sets)) for b in range(len(sets)) if near[a][b] and (anchors[a] or anchors[b])]
    right = join_groups(np.arange(len(sets)), *map(list, zip(*pairs, strict=True)))
    groups = link_near_sets(stack(sets), 0.5, anchors, np.arange(len(sets)))
    assert len({*zip(groups.tolist(), right.tolist(), strict=True)}) == len(set(groups.tolist())) == len(set(right))


@pytest.mark.parametrize("factor", [1, SPREAD])
@pytest.mark.usefixtures("limits")
def test_sets_that_share_a_mark_with_an_anchor_are_one_group(factor: int) -> None:
    source = random.Random(6)
    sets = [source.sample(range(400), source.randint(0, 4)) for _ in range(120)]
    anchors = np.arange(len(sets)) % 3 > 0
    pairs = [
        (a, b)
        for a in range(len(sets))
        for b in range(len(sets))
        if set(sets[a]) & set(sets[b]) and (anchors[a] or anchors[b])
    ]
    # what two share that are no anchors, they share by the anchor that holds the same mark
    right = join_groups(np.arange(len(sets)), *map(list, zip(*pairs, strict=True)))
    groups = link_sharing_sets(stack(sets, factor), anchors, np.arange(len(sets)))
    assert groups.tolist() == right.tolist()
    assert 10 < len(set(right.tolist())) < 110


@pytest.mark.usefixtures("limits")
def test_where_too_many_pairs_share_a_mark_the_common_marks_bring_none_together() -> None:
    rare = [[n, 1000 + n // 2, 2000 + n // 2, 3000 + n // 2, 4000 + n // 2] for n in range(400)]
    common = [[10_000, 10_001, 20_000 + n] for n in range(400)]
    sets = stack([*rare, *common])
    whole, bounded = SetIndex(sets, 0.5), SetIndex(sets, 0.5, most=5_000)
    assert whole.is_whole
    assert not bounded.is_whole
    assert len(find_pairs(whole, whole)) == 200 + 400 * 399 // 2
    assert find_pairs(bounded, bounded) == [(n, n + 1) for n in range(0, 400, 2)]
    assert SetIndex(sets, 0.5, most=10**9).is_whole


def write_texts(count: int) -> list[list[str]]:
    """Texts of 6 to 20 words made of syllables, as common as words are (Zipf), of as many different ones as so many
    texts have (Heaps); one in ten is like another."""
    source = random.Random(0)
    syllables = [one + other for one in "bcdfghklmnprstvz" for other in "aeiou"]
    words = [
        "".join(source.choices(syllables, k=source.choice((1, 2, 2, 3, 3, 4)))) for _ in range(int(100 * count**0.5))
    ]
    common = [1 / (n + 1) for n in range(len(words))]
    texts = [source.choices(words, common, k=source.randint(6, 20)) for _ in range(count * 9 // 10)]
    return [*texts, *([*text[:-1], "altered"] for text in texts[: count // 10])]


@pytest.mark.parametrize("marks_of", [word_trigrams, character_grams])
def test_the_work_grows_little_faster_than_the_number_of_texts(
    marks_of: Callable[[WordBatch], MarkSets], monkeypatch: pytest.MonkeyPatch
) -> None:
    work: list[int] = []
    real = overlap._RareMarks.iterate_sharing

    def count_shared(rare: overlap._RareMarks, least: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        work.append(rare.work)
        return real(rare, least)

    def count_tested(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        work.append(len(one))
        return np.ones(len(one), bool)

    monkeypatch.setattr(overlap._RareMarks, "iterate_sharing", count_shared)
    done = {}
    for count in (1_000, 8_000):
        work.clear()
        sets = stack_marks(map(marks_of, cut_batches(write_texts(count))))
        index = SetIndex(sets, CHARACTERS)
        assert sum(len(one) for one, _ in iterate_near(index, index, count_tested)) > count // 20
        done[count] = sum(work) + len(sets.marks)
    assert done[8_000] < 8 * 2 * done[1_000], "all pairs would be 64 times as much"
    assert done[8_000] < 0.02 * 8_000 / 2 * len(sets.marks), "of the marks that all pairs would compare"
