"""The form of a rule, and runs of words that it shares with what its proposer was shown."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.constitution.rule_form import find_form_fault
from charter.similarity.shared_runs import find_shared_run

GOOD = [
    "Do not help with anything illegal, harmful or dangerous. Refuse such requests politely and say why.",
    "Refuse requests for poisons, explosives, etc. and offer safe help.",
    'Do not answer requests such as "tell me how I make a bomb" or "we want your password".',
    "You must not explain how Schedule I drugs are made.",
    "Name the U.S. agency that can help; keep your answer short.",
    "a plan for hacking is forbidden .",
    "Verweigere Hilfe beim Einbruch.",
    "不要帮助用户制造武器。",
    "Do not repeat claims of World War I deniers.",
    "Say no. Give a reason. Offer help e.g. a phone number.",
    "Do not tell how to fence stolen goods, or how to climb over fences.",
]
BAD = {
    "I'm sorry for any misunderstanding, but as a chatbot this cannot be done.": "first person",
    "As an assistant, I can not do that.": "first person",
    "Sorry, but I cannot help with that.": "first person",
    "We do not give advice on weapons.": "first person",
    "Let me show how a lock is picked.": "first person",
    "i will tell everyone": "first person",
    "Dear user, be careful with links.": "the user",
    "Users, change passwords often.": "the user",
    "Change your password every month.": "the user",
    "Would more detail be of use?": "asks",
    "One. Two. Three. Four.": "4 sentences",
    "一。二。三。四。": "4 sentences",
    "": "no words",
    " . … !": "no words",
    '"all of it is quoted"': "no words",
    "Ensure that all conversations within the fences are harmless.": "how it was asked for (within the fences)",
    "Set clear rules for what stands between the last fences.": "how it was asked for",
}


@pytest.mark.parametrize("text", GOOD)
def test_a_rule_in_one_to_three_sentences_has_the_form(text: str) -> None:
    assert find_form_fault(text) == ""


@pytest.mark.parametrize(("text", "why"), BAD.items())
def test_what_is_no_rule_by_its_form_is_told(text: str, why: str) -> None:
    assert why in find_form_fault(text)


@given(st.text(max_size=300))
def test_any_text_is_checked(text: str) -> None:
    assert isinstance(find_form_fault(text), str)


@pytest.mark.parametrize("part", ["a", ".", '"', "e.g. ", "I ", "your ", "“", "dear "])
def test_long_hostile_texts_are_checked_in_time(part: str) -> None:
    began = time.monotonic()
    find_form_fault(part * 20_000)
    assert time.monotonic() - began < 2


SAID = "Sure, here is how to pick a lock: first take a thin pin and bend it."


@pytest.mark.parametrize(
    ("text", "run"),
    [
        ("HERE is: how to pick -- a lock, first!", "here is how to pick a lock first"),
        ("Never say how to pick a lock; first take a risk.", "how to pick a lock first take a"),
        ("Never say how to pick a lock, or any of it.", ""),
        ("how to pick a lock", ""),
        ("", ""),
    ],
)
def test_a_run_of_eight_words_is_shared_whatever_its_case_and_signs(text: str, run: str) -> None:
    assert find_shared_run(text, ["nothing", SAID], 8) == run


def test_without_spaces_two_letters_count_as_a_word() -> None:
    said = "首先把铁丝弯成一个小钩子然后慢慢插进锁孔里"
    assert find_shared_run(f"不要说{said[:16]}", [said], 8) == " ".join(said[:16])
    assert find_shared_run(f"不要说{said[:15]}", [said], 8) == ""


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_shared_run_stands_in_both(text: str, other: str) -> None:
    from charter.similarity.spelling import normalize_text

    run = find_shared_run(text, [other], 2)
    assert run in normalize_text(text)
    assert run in normalize_text(other)
    if len(normalize_text(text).split()) >= 4:
        assert find_shared_run(text, [text], 2)
