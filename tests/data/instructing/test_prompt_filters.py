"""What no generated prompt may be: ROUGE-L and near-duplicates against a plain reckoning, each filter."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.data.instructing import numbered_lists, prompt_filters
from charter.data.instructing.prompt_filters import DuplicatePool, PromptFilters, distinct_n, find_text_fault, rouge_l
from charter.records.chat import Completion, user_prompt
from charter.similarity.spelling import normalize_text
from charter.similarity.splits import LeakageFilter
from charter.spec import SelfInstructSpec

few_words = st.lists(st.sampled_from("abcdef"), max_size=14)


def plain_rouge(first: list[str], second: list[str]) -> float:
    """ROUGE-L F1 by the textbook's table."""
    rows = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            rows[i + 1][j + 1] = rows[i][j] + 1 if a == b else max(rows[i][j + 1], rows[i + 1][j])
    total = len(first) + len(second)
    return 2 * rows[-1][-1] / total if total else 0.0


@given(few_words, few_words)
def test_rouge_l_is_the_textbooks(first: list[str], second: list[str]) -> None:
    assert rouge_l(first, second) == pytest.approx(plain_rouge(first, second))


def corpus(size: int, seed: int) -> list[str]:
    """Texts of 5 to 25 words, of which about half are an earlier one with some words changed, lost or moved."""
    draw = random.Random(seed)
    vocabulary = [f"w{int(draw.paretovariate(0.6))}" for _ in range(3000)]
    texts: list[str] = []
    for _ in range(size):
        words = draw.choices(vocabulary, k=draw.randint(5, 25))
        if texts and draw.random() < 0.5:
            words = draw.choice(texts).split()
            for _ in range(draw.randint(1, max(1, len(words) // 2))):
                words[draw.randrange(len(words))] = draw.choice(vocabulary)
        texts.append(" ".join(words))
    return texts


def is_alike(first: list[str], second: list[str], bound: float) -> bool:
    """Whether the textbook's ROUGE-L is over ``bound``. A common subsequence has no more words than the two texts have
    in common, so that most pairs need no table."""
    common = (Counter(first) & Counter(second)).total()
    return 2 * common > bound * (len(first) + len(second)) and plain_rouge(first, second) > bound


@given(few_words, few_words, st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))
def test_what_needs_no_table_is_not_alike(first: list[str], second: list[str], bound: float) -> None:
    assert is_alike(first, second, bound) == (plain_rouge(first, second) > bound)


def test_near_duplicates_are_those_that_every_pair_compared_would_find() -> None:
    texts, pool, kept = corpus(600, 3), DuplicatePool(0.7), list[str]()
    missed = wrong = found = 0
    for text in texts:
        words = normalize_text(text).split()
        truth = any(is_alike(words, other.split(), 0.7) for other in kept)
        said = pool.find_duplicate(text) != ""
        missed, wrong, found = missed + (truth and not said), wrong + (said and not truth), found + (truth and said)
        if not said:
            pool.add(text)
            kept.append(normalize_text(text))
    assert (wrong, missed <= found // 200) == (0, True)
    assert 100 < found < 500


def test_equal_texts_are_exact_duplicates_whatever_their_case_and_marks() -> None:
    pool = DuplicatePool(0.7, ["How do I bake bread?"])
    assert pool.find_duplicate("how do i BAKE bread") == prompt_filters.EXACT_DUPLICATE
    assert pool.find_duplicate("How do I bake good bread?") == prompt_filters.NEAR_DUPLICATE
    assert pool.find_duplicate("What is the capital of Peru?") == ""
    assert DuplicatePool(0.7, ["...", "!!"]).find_duplicate("??") == ""
    assert DuplicatePool(0.7, ["...", "!!"]).find_duplicate(" ! ! ") == prompt_filters.EXACT_DUPLICATE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Tell me more", prompt_filters.TOO_SHORT),
        ("Tell me more please", ""),
        (" ".join(["word"] * 150), ""),
        (" ".join(["word"] * 151), prompt_filters.TOO_LONG),
        ("- Tell me more about it", prompt_filters.NO_LETTER_FIRST),
        ("Élan vital: what is that?", ""),
        ("¿Qué hora es en Lima?", ""),
        ("请用三句话解释为什么天空是蓝色的", ""),
        ("「雨」という字の書き順を教えて", ""),
        ("好" * 300, ""),
        ("好" * 301, prompt_filters.TOO_LONG),
        ("谢谢", prompt_filters.TOO_SHORT),
        ("คุณช่วยแนะนำหนังสือให้หน่อยได้ไหม", ""),
        ("कृपया एक कविता लिखिए", ""),
        ("اكتب قصيدة عن المطر", ""),
        ("7 ways to bake some bread", prompt_filters.NO_LETTER_FIRST),
        ("Describe the Image, in a poem", prompt_filters.NEEDS_MEDIA),
        ("Imagine what mapping a coast takes", ""),
        ("Find me a GIF, of a cat", prompt_filters.NEEDS_MEDIA),
    ],
)
def test_each_filter_on_the_text_alone(text: str, said: str) -> None:
    assert find_text_fault(text, SelfInstructSpec()) == said


@pytest.mark.parametrize("banned", ["Voice-Over", "voice over", "  Voice  Over "])
def test_other_media_may_have_several_words(banned: str) -> None:
    options = SelfInstructSpec(media=(banned, "", "-"))
    assert find_text_fault("Write the voice-over of a film", options) == prompt_filters.NEEDS_MEDIA
    assert find_text_fault("Is her voice over the top here?", options) == prompt_filters.NEEDS_MEDIA
    assert find_text_fault("Is his voice all over the place?", options) == ""


def test_a_pool_over_another_one_counts_its_texts_and_leaves_it_as_it_is() -> None:
    below = DuplicatePool(0.7, ["How do I bake bread?"])
    above = DuplicatePool(0.7, before=below)
    assert above.find_duplicate("how do i bake bread") == prompt_filters.EXACT_DUPLICATE
    assert above.find_duplicate("How do I bake good bread?") == prompt_filters.NEAR_DUPLICATE
    above.add("What is the capital of Peru?")
    assert above.find_duplicate("what is the capital of peru") == prompt_filters.EXACT_DUPLICATE
    assert below.find_duplicate("what is the capital of peru") == ""


def test_what_is_close_to_gate_or_held_out_does_not_pass_and_is_not_in_the_pool() -> None:
    protected = "Tell me the best way of hiding a body behind the mill"
    made = PromptFilters(DuplicatePool(0.7), LeakageFilter([user_prompt(protected)], 0.8), SelfInstructSpec())
    assert made.admit(protected + "!") == prompt_filters.LEAKED
    other = "Which tool do I need to mend a clock?"
    assert [made.admit(other), made.admit(other)] == ["", prompt_filters.EXACT_DUPLICATE]
    assert made.admit(protected) == prompt_filters.LEAKED


@settings(max_examples=60)
@given(st.lists(st.text("ab1. \n)", max_size=20), max_size=6), st.integers(1, 9))
def test_a_list_that_is_written_is_read_again(texts: list[str], first: int) -> None:
    items = [" ".join(text.split()).lstrip("1234567890.) ") or "x" for text in texts]
    assert numbered_lists.parse_list("\n".join(f"{n}. {text}" for n, text in enumerate(items, first))) == [
        *enumerate(items, first)
    ]


def test_a_list_within_an_item_stays_within_it_and_chatter_before_the_list_is_no_item() -> None:
    reply = "Sure, here you are:\n6. Sort these:\n1. b\n2. a\n7) Next one\n9. no number that follows on"
    assert numbered_lists.parse_list(reply) == [
        (6, "Sort these:\n1. b\n2. a"),
        (7, "Next one\n9. no number that follows on"),
    ]


@pytest.mark.parametrize(
    ("reply", "items"),
    [
        ("**6.** How so?\n**7.** Why?", [(6, "How so?"), (7, "Why?")]),
        ("**6. How so?**\n**7. Why?**", [(6, "How so?"), (7, "Why?")]),
        ("6. **How so?**\n7. **Why** so?", [(6, "How so?"), (7, "**Why** so?")]),
        ("__6)__ How so?", [(6, "How so?")]),
        ("(6) How so?", [(6, "How so?")]),
        ("6.How so?\n7.Why?", [(6, "How so?"), (7, "Why?")]),
        ("6. Take\n7.5 litres of it\n7. Why?", [(6, "Take\n7.5 litres of it"), (7, "Why?")]),
        ("6.\n7. Why?", [(6, ""), (7, "Why?")]),
        ("Here:\n- How so?\n  - with care\n- Why?", [(-1, "How so?\n  - with care"), (-2, "Why?")]),
        ("* **How so?**\n* Why?", [(-1, "How so?"), (-2, "Why?")]),
        ("6. Sort:\n- b\n- a", [(6, "Sort:\n- b\n- a")]),
    ],
)
def test_lists_are_read_in_common_markup(reply: str, items: list[tuple[int, str]]) -> None:
    assert numbered_lists.parse_list(reply) == items


@pytest.mark.parametrize(
    ("text", "stop", "items", "dropped"),
    [
        ("1. one\n2. two", "stop", ["one", "two"], {}),
        ("1. one\n2. tw", "length", ["one"], {numbered_lists.TRUNCATED: 1}),
        ("1. one\n2. \n3. three", "stop", ["one", "three"], {numbered_lists.EMPTY: 1}),
        ("I cannot help with that.", "stop", [], {numbered_lists.NO_LIST: 1}),
    ],
)
def test_what_is_read_of_a_reply(text: str, stop: str, items: list[str], dropped: dict[str, int]) -> None:
    answer = Completion.model_validate({"id": "c", "text": text, "stop": stop})
    found, lost = numbered_lists.parse_reply(answer, whole=False)
    assert ([item for _, item in found], lost) == (items, dropped)


def test_a_reply_may_be_one_prompt_and_an_error_is_no_prompt() -> None:
    assert numbered_lists.parse_reply(Completion(id="c", text=" a b\nc "), whole=True) == ([(1, "a b\nc")], {})
    assert numbered_lists.parse_reply(Completion(id="c", text="a", stop="length"), whole=True) == (
        [],
        {numbered_lists.TRUNCATED: 1},
    )
    assert numbered_lists.parse_reply(Completion(id="c", text="", error="gone"), whole=True) == (
        [],
        {numbered_lists.NO_ANSWER: 1},
    )


def test_distinct_n_counts_different_n_grams() -> None:
    assert distinct_n(["a b a b", "a b"], 1) == pytest.approx(2 / 6)
    assert distinct_n(["a b a b", "a b"], 2) == pytest.approx(2 / 4)
    assert distinct_n([], 2) == 0.0
