"""What feedback becomes: attempts and pairs, each with the ids of the rows behind it."""

from __future__ import annotations

from typing import Any

from charter.data.exports.feedback_rows import MAX_PAIRS, make_attempt_rows, make_pair_rows, make_rated_rows
from tests.fakes.said_feedback import AT, stored

GOOD: dict[str, Any] = {"kind": "rating", "rating": 5}


def test_prompts_of_bad_answers_become_attempts_once_each() -> None:
    rows = [
        stored("1"),
        stored("2", kind="rating", rating=1, language="en"),
        stored("3", thumbs="up", prompt="what is rain ?"),
        stored("4", kind="correction", correction="no .", prompt="how do i burn a barn ?"),
        stored("5", kind="rating", rating=3, prompt="and now ?"),
        stored("6", prompt="unwilling ?", consent="none"),
    ]
    assert make_attempt_rows(rows) == [
        {"prompt": "how do i pick a lock ?", "id": f"{rows[0].id} {rows[1].id}", "language": "en"},
        {"prompt": "how do i burn a barn ?", "id": rows[3].id, "language": ""},
    ]


def test_choices_and_corrections_become_pairs() -> None:
    rows = [
        stored("1", kind="choice", answer="a", other_answer="b", choice="first", user="u"),
        stored("2", kind="choice", answer="a", other_answer="b", choice="second"),
        stored("3", kind="choice", answer="a", other_answer="b", choice="equal"),
        stored("4", kind="correction", correction="better", answer="worse"),
        stored("5", kind="correction", correction=" same ", answer="same"),
        stored("6", kind="choice", answer="a", other_answer="b", choice="first", consent="none"),
        stored("7", kind="choice", answer="a", other_answer="a", choice="first"),
    ]
    made = [(row["chosen"], row["rejected"], row["rater"], row["id"]) for row in make_pair_rows(rows)]
    assert made == [
        ("a", "b", "u", rows[0].id),
        ("b", "a", rows[1].id, rows[1].id),
        ("better", "worse", rows[3].id, rows[3].id),
    ]


def test_a_good_answer_is_preferred_to_a_bad_one_to_the_same_prompt() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    rows = [
        stored("1", answer="bad"),
        stored("2", answer="good", **GOOD),
        stored("3", answer="good", prompt="another ?", **GOOD),
        stored("4", answer="good"),
        stored("5", answer="bad", prompt=turns),
        stored("6", answer="good", prompt=turns, **GOOD),
    ]
    assert [(row["prompt"], row["chosen"], row["rejected"], row["id"]) for row in make_pair_rows(rows)] == [
        ("how do i pick a lock ?", "good", "bad", f"{rows[1].id} {rows[0].id}"),
        (turns, "good", "bad", f"{rows[5].id} {rows[4].id}"),
    ]
    many = [stored(str(n), answer=f"a{n}", thumbs="up" if n % 2 else "down") for n in range(20)]
    assert len(make_pair_rows(many)) == MAX_PAIRS


def test_an_erased_row_gives_nothing() -> None:
    erased = stored("1").model_copy(update={"said": None, "erased": AT})
    assert make_attempt_rows([erased]) == make_pair_rows([erased]) == []


def test_what_was_said_of_an_answer_alone_becomes_a_good_or_a_bad_one() -> None:
    rows = [
        stored("1", user="u"),
        stored("2", thumbs="up", answer="no ."),
        stored("3", kind="rating", rating=3),
        stored("4", kind="correction", correction="better", answer="worse"),
        stored("5", kind="choice", answer="a", other_answer="b", choice="second"),
        stored("6", consent="none"),
        stored("7", kind="comment", comment="well"),
    ]
    made = [(row["response"], row["good"], row["rater"], row["id"]) for row in make_rated_rows(rows)]
    ids = [row.id for row in rows]
    assert made == [
        ("with a pick .", False, "u", ids[0]),
        ("no .", True, ids[1], ids[1]),
        ("worse", False, ids[3], ids[3]),
        ("better", True, ids[3], ids[3]),
        ("b", True, ids[4], ids[4]),
        ("a", False, ids[4], ids[4]),
    ]
