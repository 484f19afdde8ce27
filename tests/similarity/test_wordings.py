"""The marks of texts: as their definitions say, for each text whatever others are marked with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.similarity import wordings
from charter.similarity.mark_sets import MarkSets
from charter.similarity.wordings import (
    WordBatch,
    character_grams,
    cut_batches,
    leave_one_word_out,
    word_trigrams,
)

Words = Sequence[str]
texts_of_words = st.lists(
    st.lists(st.sampled_from(["a", "bb", "kettle", "12", "7", "请", "问", "กา", "é", "\ud800"]), max_size=14),
    max_size=12,
)


def mark(marks_of: Callable[[WordBatch], MarkSets], texts: Sequence[Words]) -> list[list[int]]:
    """The marks of each text."""
    found = []
    for batch in cut_batches(texts):
        sets = marks_of(batch)
        found += [sets.marks[start:end].tolist() for start, end in zip(sets.starts[:-1], sets.starts[1:], strict=True)]
    return found


@settings(max_examples=60, deadline=None)
@given(texts_of_words, st.sampled_from([word_trigrams, character_grams, leave_one_word_out]))
def test_a_text_has_the_same_marks_among_others_and_alone(
    texts: list[list[str]], marks_of: Callable[[WordBatch], MarkSets]
) -> None:
    together = mark(marks_of, texts)
    assert together == [mark(marks_of, [words])[0] for words in texts]
    assert all(own == sorted(set(own)) for own in together)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wordings, "BATCH_WORDS", 5)
        assert mark(marks_of, texts) == together


def count_shared(sets: Sequence[Set[Any]]) -> list[list[int]]:
    """How much every two sets have in common."""
    return [[len(one & other) for other in sets] for one in sets]


@settings(max_examples=60, deadline=None)
@given(texts_of_words)
def test_two_texts_share_the_trigrams_that_stand_in_both(texts: list[list[str]]) -> None:
    held = [{tuple(words[n : n + 3]) for n in range(max(1, len(words) - 2))} if words else set() for words in texts]
    found = [set(own) for own in mark(word_trigrams, texts)]
    assert count_shared(found) == count_shared(held)


def grams(words: Words) -> set[str]:
    """The runs of a text without letters of unspaced scripts, with its numbers."""
    text = " ".join(words)
    numbers = sorted(word for word in words if word.isdecimal())
    return {f"{text[n : n + 5]}|{numbers}" for n in range(max(1, len(text) - 4))} if text else set()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["a", "bb", "kettle", "12", "7", "é"]), max_size=9), max_size=10))
def test_two_texts_of_the_same_numbers_share_the_runs_of_characters_that_stand_in_both(texts: list[list[str]]) -> None:
    held = [grams(words) for words in texts]
    found = [set(own) for own in mark(character_grams, texts)]
    assert count_shared(found) == count_shared(held)


def lessen(words: Words) -> set[tuple[Words, Words]]:
    """A text, and it without each of its words, with its numbers."""
    numbers = tuple(sorted(word for word in words if word.isdecimal()))
    less = [tuple(words), *(tuple([*words[:n], *words[n + 1 :]]) for n in range(len(words)))]
    return {(own, numbers) for own in less} if len(words) >= wordings.FEWEST else set()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["a", "bb", "12", "7", "é"]), min_size=6, max_size=10), max_size=10))
def test_two_texts_share_what_is_left_of_both_without_a_word(texts: list[list[str]]) -> None:
    held = [lessen(words) for words in texts]
    found = [set(own) for own in mark(leave_one_word_out, texts)]
    assert count_shared(found) == count_shared(held)


def test_texts_that_are_long_or_of_another_script_are_not_told_by_runs() -> None:
    long, unspaced = ["kettle"] * 80, ["请"] * 9
    assert mark(character_grams, [long, ["kettle"]])[0] == []
    assert mark(leave_one_word_out, [unspaced, long])[0] == []
    assert len(mark(character_grams, [unspaced])[0]) == 1
