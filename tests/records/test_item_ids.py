"""Ids that are made of other ids come apart again, whatever they are made of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from charter.records.chat import user_prompt
from charter.records.item_ids import (
    copy_id,
    group_cell_id,
    join_id,
    original_row_id,
    parent_id,
    prompt_id,
    split_id,
    split_trial_id,
    text_mark,
    trial_id,
)
from charter.records.training_rows import oversample
from tests.fakes.example_records import row

WORDS = st.text(alphabet="abcdef0123456789-", min_size=1)
IDS = st.text(alphabet="abcdef0123456789-/+|", min_size=1)


@given(IDS, WORDS | st.integers(min_value=0))
def test_a_part_knows_its_item(parent: str, part: str | int) -> None:
    assert parent_id(join_id(parent, part)) == parent
    assert split_id(join_id(parent, part)) == (parent, str(part))


@given(st.text(alphabet="abcdef0123456789-/", min_size=1), st.lists(WORDS, max_size=3))
def test_a_trial_knows_its_finding_and_the_rules_that_it_leaves_out(finding: str, omitted: list[str]) -> None:
    assert split_trial_id(trial_id(finding, omitted)) == (finding, tuple(omitted))


@given(st.text(alphabet="abcdef-/|", min_size=1), st.integers(min_value=0, max_value=99))
def test_a_copy_knows_its_row(id: str, turn: int) -> None:
    assert original_row_id(copy_id(id, turn)) == id


@given(WORDS, st.integers(min_value=0, max_value=99))
def test_prompts_of_equal_texts_share_a_mark(mark: str, ordinal: int) -> None:
    assert text_mark(prompt_id(mark, ordinal)) == mark


def test_the_ids_are_written_as_they_always_were() -> None:
    assert trial_id("f1") == "f1|"
    assert trial_id("f1", ("p-1", "p-2")) == "f1|p-1+p-2"
    assert join_id("f1", 2) == "f1/2"
    assert (copy_id("r", 0), copy_id("r", 2)) == ("r", "r+2")
    assert original_row_id("a+b") == "a+b"
    assert group_cell_id("language", "en", "honesty") == "language|en|honesty"
    assert text_mark(user_prompt("hello").id) == text_mark(user_prompt("hello", 3).id)
    assert user_prompt("hello").id != user_prompt("hello", 3).id


def test_copies_of_rows_are_found_again() -> None:
    rows = [row(f"r{n}") for n in range(3)]
    assert [original_row_id(one.id) for one in oversample(rows, 7)] == ["r0", "r1", "r2", "r0", "r1", "r2", "r0"]
