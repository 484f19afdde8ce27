"""Assignment, whatever raters do in whatever order: no item has too many raters, and none is left waiting."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.records.reviews import ReviewQueue
from charter.stages.review_board import LEASE, ReviewBoard

RATERS = ("ada", "bo", "cy", "di")
MENU = {"yes": "it is", "no": "it is not"}


class Table:
    """A board with its journal, and what a desk does: nothing is decided here."""

    def __init__(self, items: int, raters: int) -> None:
        fields = {"id": "q1", "kind": "exchanges", "menu": MENU, "seed": 0, "population": items, "guideline": ""}
        queue = ReviewQueue.model_validate({**fields, "raters": raters})
        self.board = ReviewBoard(queue, [f"i{n}" for n in range(items)])
        self.events: list[dict[str, Any]] = []
        self.now = 0.0

    def write(self, event: str, **fields: Any) -> None:
        line = {"event": event, "n": len(self.events) + 1, "at": "2026-01-01T00:00:00+00:00", **fields}
        self.events.append(line)
        assert self.board.add(line) == ""

    def take(self, rater: str) -> str | None:
        item = self.board.choose_item(rater, self.now)
        if item is not None and not self.board.is_reserved(item, rater, self.now):
            self.write("reserved", item=item, rater=rater, until=self.now + LEASE)
        return item

    def say(self, rater: str, item: str, label: str | None = "yes") -> None:
        said = {"role": "", "comment": "", "corrected": "", "source": "", "label": label}
        if not self.board.refuse_label(item, rater, self.now):
            self.write("labelled", item=item, rater=rater, **said)

    def count_held(self, item: str) -> int:
        """Raters who have said something of an item, and those who are at it."""
        at_it = {rater for rater in RATERS if self.board.is_reserved(item, rater, self.now)}
        return len(at_it | set(self.board.labels[item]))


ACTIONS = st.tuples(
    st.sampled_from(RATERS),
    st.sampled_from(("take", "say", "say late", "say any", "pass", "leave", "settle")),
    st.integers(0, 4),
)


def act(table: Table, hands: dict[str, str], rater: str, action: str, n: int) -> None:
    board, item = table.board, hands.get(rater)
    if action == "take":
        found = table.take(rater)
        hands.update({rater: found} if found is not None else {})
    elif action == "leave":
        table.now += LEASE * 0.7
    elif action == "say any":
        table.say(rater, board.items[n % len(board.items)])
    elif action == "settle":
        settled = board.items[n % len(board.items)]
        if board.is_complete(settled):
            table.write("settled", item=settled, by="zoe", role="", label="no", note="")
    elif item is not None and action == "pass" and not board.refuse_label(item, rater, table.now):
        table.write("passed", item=item, rater=rater)
    elif item is not None:
        table.now += LEASE * 1.1 if action == "say late" else 1.0
        table.say(rater, item, None if n == 4 else "yes")


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTIONS, max_size=40), st.integers(1, 4), st.integers(1, 3))
def test_no_item_has_more_raters_than_asked_for_and_none_starves(
    actions: list[tuple[str, str, int]], items: int, raters: int
) -> None:
    table, hands = Table(items, raters), dict[str, str]()
    board = table.board
    for rater, action, n in actions:
        act(table, hands, rater, action, n)
        assert all(len(said) <= raters for said in board.labels.values())
        assert all(table.count_held(item) <= raters for item in board.items)
    table.now += LEASE + 1  # whoever was at an item has left
    for _ in range(items * raters):
        for rater in RATERS:
            item = table.take(rater)
            if item is not None:
                assert rater not in board.labels[item]
                table.say(rater, item)
    assert all(board.is_complete(item) or item in board.settled for item in board.items)
    assert all(board.choose_item(rater, table.now) is None for rater in RATERS)


@settings(max_examples=40, deadline=None)
@given(st.lists(ACTIONS, max_size=30), st.integers(1, 3))
def test_the_state_is_a_function_of_the_journal(actions: list[tuple[str, str, int]], raters: int) -> None:
    table, hands = Table(3, raters), dict[str, str]()
    for rater, action, n in actions:
        act(table, hands, rater, action, n)
    again = ReviewBoard(table.board.queue, table.board.items)
    assert [again.add(event) for event in table.events] == [""] * len(table.events)
    assert (again.labels, again.settled, again.passed) == (table.board.labels, table.board.settled, table.board.passed)
    chosen = [board.choose_item(rater, table.now) for board in (again, table.board) for rater in RATERS]
    assert chosen[: len(RATERS)] == chosen[len(RATERS) :]


@pytest.mark.parametrize(
    ("said", "final"),
    [
        (["yes", "yes", "no"], "yes"),
        (["yes", "no", None], None),
        (["no", None, None], None),
        (["no", "no", None], "no"),
    ],
)
def test_the_end_is_what_more_than_half_of_all_raters_say(said: list[str | None], final: str | None) -> None:
    table = Table(1, 3)
    for rater, label in zip(RATERS, said, strict=False):
        assert table.board.find_final("i0") is None
        table.say(rater, "i0", label)
    found = table.board.find_final("i0")
    assert (found.label if found else None) == final
    assert table.board.list_disputed() == ([] if final else ["i0"])


def test_what_is_about_nothing_is_said() -> None:
    board = Table(1, 1).board
    assert "no item" in board.add({"event": "passed", "n": 1, "item": "i9", "rater": "ada"})
    assert "not on the menu" in board.add({"event": "labelled", "n": 1, "item": "i0", "rater": "ada", "label": "evil"})
    assert board.add({"event": "begun", "n": 1, "seal": ""}) == ""
