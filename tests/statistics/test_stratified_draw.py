"""Which items a limit takes: of each category its share, by hash, whatever the order."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from charter.statistics import draw_stratified

TEXTS = [f"question {n}" for n in range(400)]
SIZES = {"harmless": 232, "helpful": 96, "honest": 48, "other": 24}
CATEGORIES = [name for name, size in SIZES.items() for _ in range(size)]


def test_each_category_has_its_share() -> None:
    """The first fifty are harmless throughout; the draw has every category, within one of its share."""
    assert set(CATEGORIES[:50]) == {"harmless"}
    places = draw_stratified(TEXTS, CATEGORIES, 50)
    assert len(places) == 50
    assert places == sorted(set(places))
    drawn = Counter(CATEGORIES[place] for place in places)
    assert all(abs(drawn[name] - 50 * size / 400) <= 1 for name, size in SIZES.items())


def test_nothing_is_left_out_without_a_limit_or_below_it() -> None:
    for most in (None, 400, 1000):
        assert draw_stratified(TEXTS, CATEGORIES, most) == list(range(400))
    assert draw_stratified(TEXTS, CATEGORIES, 0) == []
    assert draw_stratified([], [], 5) == []


def test_what_is_drawn_does_not_depend_on_the_order() -> None:
    order = list(range(400))
    random.Random(1).shuffle(order)
    first = {TEXTS[place] for place in draw_stratified(TEXTS, CATEGORIES, 60)}
    again = draw_stratified([TEXTS[n] for n in order], [CATEGORIES[n] for n in order], 60)
    assert {TEXTS[order[place]] for place in again} == first
    assert first != set(TEXTS[:60])


def test_a_larger_limit_holds_what_a_smaller_one_drew() -> None:
    drawn = [set(draw_stratified(TEXTS, CATEGORIES, most)) for most in (10, 50, 200)]
    assert drawn[0] < drawn[1] < drawn[2]


def test_within_a_category_the_draw_is_like_one_by_chance() -> None:
    """Half of 400 items of one kind: neither the first ones nor the last, within four standard errors of the mean."""
    places = draw_stratified(TEXTS, [""] * 400, 200)
    first = sum(place < 200 for place in places)
    assert abs(first - 100) < 4 * (200 * 0.25 * 0.5) ** 0.5


@given(st.lists(st.tuples(st.text(max_size=4), st.sampled_from("abc")), max_size=40), st.integers(0, 45))
def test_so_many_are_drawn_and_each_place_once(items: list[tuple[str, str]], most: int) -> None:
    places = draw_stratified([text for text, _ in items], [name for _, name in items], most)
    assert len(places) == min(most, len(items))
    assert places == sorted(set(places))
