"""Records as a data frame."""

from __future__ import annotations

from charter.jobs.notebook.frames import frame
from charter.records.chat import Exchange, Message, user_prompt


def test_every_inner_field_is_a_column() -> None:
    turns = (Message(role="system", content="Be kind."), Message(role="user", content="Hi"))
    exchanges = [
        Exchange.of_row("a", turns, "Hello"),
        Exchange.of_row("b", user_prompt("What?").messages, "Nothing", model="m"),
    ]
    table = frame(exchanges)
    assert table["id"].tolist() == ["a", "b"]
    assert table["prompt.text"].tolist() == ["Be kind.\nHi", "What?"]
    assert table["prompt.messages"][0] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    assert table["sampling.temperature"].tolist() == [0.0, 0.0]


def test_no_records_are_an_empty_frame() -> None:
    assert frame([]).empty
