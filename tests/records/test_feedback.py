"""What a row of feedback must say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from charter.records.feedback import Feedback, describe_fault, feedback_id
from tests.fakes.said_feedback import said, stored


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"kind": "thumbs", "thumbs": None}, "thumbs needs thumbs"),
        ({"kind": "rating"}, "rating needs rating"),
        ({"kind": "rating", "rating": 6}, "rating: Input should be less than or equal to 5"),
        ({"kind": "correction"}, "correction needs correction"),
        ({"kind": "choice", "choice": "first"}, "choice needs other_answer"),
        ({"kind": "comment"}, "comment needs comment"),
        ({"answer": ""}, "needs answer"),
        ({"prompt": "  "}, "must end with words of the user"),
        ({"prompt": []}, "must end with words of the user"),
        ({"prompt": [{"role": "assistant", "content": "hello"}]}, "must end with words of the user"),
        ({"user": "ann@example.com"}, "user: String should match"),
        ({"user": "Ann Bell"}, "user: String should match"),
        ({"id": ""}, "id: String should match"),
        ({"language": "English please"}, "language: String should match"),
        ({"consent": "perhaps"}, "consent: Input should be"),
        ({"created": "2026-11-30T10:00:00"}, "must name its time zone"),
        ({"answer": "x" * 50_001}, "answer: String should have at most"),
        ({"stars": 3}, "stars: Extra inputs are not permitted"),
    ],
)
def test_a_row_that_does_not_say_what_it_must_is_refused(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError) as raised:
        said(**fields)
    assert fault in describe_fault(raised.value)


def test_a_prompt_is_a_text_or_turns() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    assert [turn.content for turn in said(prompt=turns).prompt] == ["a", "b", "c"]
    assert said(prompt=" a ") == said(prompt="a")
    assert Feedback.model_validate_json(said(prompt=turns).model_dump_json()) == said(prompt=turns)


@pytest.mark.parametrize(
    ("fields", "good"),
    [
        ({"thumbs": "up"}, True),
        ({"thumbs": "down"}, False),
        *[({"kind": "rating", "rating": n}, good) for n, good in enumerate((False, False, None, True, True), 1)],
        ({"kind": "correction", "correction": "no ."}, False),
        ({"kind": "choice", "other_answer": "no .", "choice": "first"}, None),
        ({"kind": "comment", "comment": "hm"}, None),
    ],
)
def test_an_answer_is_good_or_bad_as_its_user_said(fields: dict[str, Any], good: bool | None) -> None:
    assert said(**fields).is_good is good


def test_an_id_depends_on_the_sender_and_its_row() -> None:
    assert feedback_id("a", "1") == feedback_id("a", "1") != feedback_id("a", "2")
    assert feedback_id("a", "1") != feedback_id("b", "1")


def test_nothing_is_made_without_consent() -> None:
    assert said().consent == "improve"
    assert Feedback(id="1", kind="thumbs", prompt="a", answer="b", thumbs="up").consent == "none"
    assert [stored(consent=consent).is_usable for consent in ("none", "improve", "publish")] == [False, True, True]
