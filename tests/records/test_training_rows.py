"""Rows that come together."""

from __future__ import annotations

from charter.records.training_rows import add_rows
from tests.fakes.example_records import row


def test_a_row_that_comes_again_takes_the_place_of_what_stood() -> None:
    again = row("a").model_copy(update={"response": "another answer"})
    assert add_rows([row("a"), row("b")], [again, row("c")]) == (again, row("b"), row("c"))


def test_rows_of_other_ids_are_all_kept_in_their_order() -> None:
    assert add_rows([row("b"), row("a")], [row("c")]) == (row("b"), row("a"), row("c"))
