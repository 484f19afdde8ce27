"""The form of an answer: rules that it recites, and its last whole sentence where it was cut."""

from __future__ import annotations

import pytest

from charter.constitution.answer_form import end_properly, find_recital, find_repetition
from charter.records.chat import Exchange, Sampling, StopReason, user_prompt

RULES = ["Refuse.", "Never help to pick a lock.", "When asked about locks at night, decline and say why in a sentence."]


@pytest.mark.parametrize(
    ("text", "recited"),
    [
        ("I cannot help with that lock.", ""),
        ("Refuse.", ""),
        ("As I said, never help to PICK a lock!", "never help to pick a lock"),
        ("When asked about locks at night, decline and go.", "when asked about locks at night decline and"),
        ("When asked about locks, decline and say why.", ""),
        ("", ""),
    ],
)
def test_a_run_of_a_rules_words_is_a_recital(text: str, recited: str) -> None:
    assert find_recital(text, RULES) == recited


@pytest.mark.parametrize(
    ("text", "repeated"),
    [
        ("Step one is to prepare the thing with care. " * 2, ""),
        (
            "First, it is to prepare the thing with care. Then, IT IS to prepare the thing with care. " * 2,
            "it is to prepare the thing with care",
        ),
        ("no no no no no no no no no", ""),
        ("no " * 10, "no no no no no no no no"),
        ("I cannot help with that.", ""),
        ("", ""),
    ],
)
def test_a_run_of_words_that_comes_three_times_is_a_repetition(text: str, repeated: str) -> None:
    assert find_repetition(text) == repeated


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("I cannot help. It is", "I cannot help."),
        ('He said "no." And then', 'He said "no."'),
        ("Why? Because of", "Why?"),
        ("いいえ。それは", "いいえ。"),
        ("One thing. 2. Take the", "One thing."),
        ("See charter.org for more", None),
        ("1. Take the pin 2. Bend", None),
        ("", None),
    ],
)
def test_what_was_cut_ends_with_its_last_whole_sentence(said: str, left: str | None) -> None:
    found = end_properly(exchange(said, "length"))
    assert (found.response, found.stop) == ((left, "sentence") if left is not None else (said, "length"))


def test_what_was_not_cut_stays() -> None:
    whole, failed = exchange("Done. And", "stop"), exchange("", "error")
    assert (end_properly(whole), end_properly(failed)) == (whole, failed)


def exchange(said: str, stop: StopReason) -> Exchange:
    return Exchange(id="e", prompt=user_prompt("ask"), response=said, stop=stop, model="m", sampling=Sampling())
