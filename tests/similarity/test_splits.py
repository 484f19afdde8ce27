"""Near-duplicates, the split by cluster, and the guard around gate and held-out."""

from __future__ import annotations

import random
import re
import unicodedata
from itertools import combinations, permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.records.chat import Message, Prompt, user_prompt
from charter.similarity.prompt_clusters import FORM, FORM_SHARE, cluster_prompts, conversation_prefixes
from charter.similarity.spelling import fold_lookalikes, normalize_text
from charter.similarity.splits import (
    SPLIT_SHARES,
    LeakageFilter,
    NearDuplicateIndex,
    find_near_duplicates,
    find_top_ranked,
    jaccard,
    rank,
    shingles,
    split_prompts,
)
from charter.similarity.wordings import CHARACTERS, WordBatch, character_grams, leave_one_word_out
from tests.similarity.small_parts import make_parts_small

WORDS = [f"w{i}" for i in range(40)]


def varied(count: int, seed: int, longest: int = 40) -> list[str]:
    """Texts of random words, each followed by two with a word or two changed."""
    source = random.Random(seed)
    texts = []
    for _ in range(count):
        words = source.choices(WORDS, k=source.randint(1, longest))
        for changes in (0, 1, 2):
            copy = list(words)
            for _ in range(changes):
                copy[source.randrange(len(copy))] = source.choice(WORDS)
            texts.append(" ".join(copy))
    return texts


def prompts(texts: list[str], source: str = "") -> list[Prompt]:
    return [user_prompt(text, ordinal, source) for ordinal, text in enumerate(texts)]


def brute(text: str, protected: list[str], threshold: float) -> bool:
    return any(jaccard(shingles(text), shingles(other)) >= threshold for other in protected)


def test_case_punctuation_and_space_do_not_make_a_text_another() -> None:
    assert normalize_text("  How do I\tbake, a CAKE?! ") == "how do i bake a cake"
    assert normalize_text("Ünïcode ЖЖ 日本") == "ünïcode жж 日 本"
    assert shingles("a b c d") == {"a b c", "b c d"}
    assert shingles("one") == {"one"}
    assert jaccard(shingles("a b c d"), shingles("b c d e")) == pytest.approx(1 / 3)


@given(st.text(st.characters(max_codepoint=127)))
def test_text_in_ascii_is_told_apart_by_its_words_in_lower_case(text: str) -> None:
    words = [word for word in normalize_text(text).split() if re.search(r"\w", word)]
    assert words == re.findall(r"\w+", text.lower()) or not words


def test_a_letter_is_the_same_however_it_is_written() -> None:
    assert normalize_text("Où ÉTAIT") == normalize_text(unicodedata.normalize("NFD", "où était")) == "où était"
    assert normalize_text("ｂａｋｅ Ａ Ｃａｋｅ") == "bake a cake"


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.9, 1.0])
def test_the_guard_of_a_world_agrees_with_exact_jaccard(threshold: float) -> None:
    texts = varied(120, seed=3)
    protected, asked = texts[::2], texts[1::2]
    guard = LeakageFilter(prompts(protected, "world:some"), threshold)
    wrong = [text for text in asked if guard.is_protected(text) != brute(text, protected, threshold)]
    assert wrong == []
    kept = guard.remove_leaked(prompts(asked))
    assert [p.text for p in kept] == [text for text in asked if not brute(text, protected, threshold)]
    assert 0 < len(kept) < len(asked)


def test_a_guard_of_nothing_lets_everything_pass_and_its_identity_tells_what_it_guards() -> None:
    some = prompts(["how do i bake a cake", "", "🎉"])
    assert LeakageFilter((), 0.8).remove_leaked(some) == some
    assert LeakageFilter(some, 0.8).identity == LeakageFilter(some[::-1], 0.8).identity
    assert (
        len(
            {
                LeakageFilter(some, 0.8).identity,
                LeakageFilter(some, 0.7).identity,
                LeakageFilter(some[:1], 0.8).identity,
            }
        )
        == 3
    )


def test_many_texts_are_held_against_an_index_as_each_alone_is() -> None:
    texts = [*varied(60, seed=8), "请问怎样在家里安全地修理一台旧自行车", "C#", "", "12", "?!"]
    index = NearDuplicateIndex([(text, n % 3 > 0) for n, text in enumerate(texts[::2])], 0.6)
    found = index.find_near([(text, n % 2 > 0) for n, text in enumerate(texts)])
    assert found == [index.find_near([(text, n % 2 > 0)])[0] for n, text in enumerate(texts)]
    assert 0 < sum(found) < len(found)
    assert NearDuplicateIndex([], 0.6).find_near([("a", True)]) == [False]
    assert index.find_near([]) == []


@given(st.text(max_size=60))
def test_every_text_is_close_to_itself(text: str) -> None:
    guard = LeakageFilter([user_prompt(text)], 0.8)
    assert guard.is_protected(text)
    assert guard.is_protected(f" {text}\n")


def test_no_near_duplicates_fall_into_different_splits() -> None:
    texts = varied(100, seed=11)
    parts = split_prompts(prompts(texts), 0.8)
    assert sorted(p.id for part in parts.values() for p in part) == sorted(p.id for p in prompts(texts))
    for one, other in combinations(parts.values(), 2):
        assert not any(brute(p.text, [q.text for q in other], 0.8) for p in one)


@settings(max_examples=25)
@given(st.permutations(range(30)))
def test_a_split_does_not_depend_on_the_order(order: list[int]) -> None:
    given_order = prompts(varied(10, seed=5))
    shuffled = [given_order[i] for i in order]
    first, second = split_prompts(given_order, 0.8), split_prompts(shuffled, 0.8)
    assert any(first.values())
    for split, part in first.items():
        assert {p.id for p in part} == {p.id for p in second[split]}
        assert [p.id for p in part] == [p.id for p in given_order if p in part]


def test_a_prompt_that_has_no_neighbour_stays_in_its_split_when_others_come() -> None:
    own = prompts([f"question number {n} about topic {n * n} and nothing else at all" for n in range(200)])
    more = prompts(varied(50, seed=1))
    before, after = split_prompts(own, 0.8), split_prompts([*own, *more], 0.8)
    for split, part in before.items():
        assert [p.id for p in part] == [p.id for p in after[split] if p in own]
    for split, share in SPLIT_SHARES:
        assert abs(len(before[split]) / len(own) - share) < 0.12


def talk(*turns: str) -> Prompt:
    """A conversation: user, assistant, user ..."""
    roles: list[Any] = ["user", "assistant"]
    messages = tuple(Message(role=roles[n % 2], content=turn) for n, turn in enumerate(turns))
    return user_prompt("\n".join(turns)).model_copy(update={"messages": messages})


def test_the_openings_of_a_conversation_are_what_is_asked_on_the_way_through_it() -> None:
    assert conversation_prefixes(talk("a", "b", "c", "d", "e")) == ["a", "a\nb\nc", "a\nb\nc\nd\ne"]
    assert conversation_prefixes(user_prompt("a")) == ["a"]


def test_a_conversation_shares_the_split_of_whatever_it_opens_with() -> None:
    asked = [f"how do i mend thing {n} of {n * n} at home tonight" for n in range(80)]
    alone = [user_prompt(text) for text in asked]
    longer = [talk(f"{text.title()}!", "why do you ask", f"no reason at all {n}") for n, text in enumerate(asked)]
    longest = [talk(*(m.content for m in p.messages), "then no", f"go on please {n}") for n, p in enumerate(longer)]
    parts = split_prompts([*alone, *longer, *longest], 0.8)
    assert all(len(part) % 3 == 0 and part for part in parts.values())
    placed = {p.id: split for split, part in parts.items() for p in part}
    assert all(len({placed[p.id] for p in three}) == 1 for three in zip(alone, longer, longest, strict=True))
    for one, other in permutations(parts.values(), 2):
        assert LeakageFilter(one, 0.8).remove_leaked(other) == other


def test_the_guard_knows_a_protected_prompt_within_a_conversation_and_one_that_opens_a_protected_one() -> None:
    short, long = user_prompt("how do i bake a cake"), talk("how do i bake a cake", "with flour", "and then what")
    other = talk("how do i mow the lawn", "with flour", "and then what")
    assert LeakageFilter([short], 0.8).remove_leaked([long, other]) == [other]
    assert LeakageFilter([long], 0.8).remove_leaked([short, other]) == [other]
    assert LeakageFilter([long], 0.8).is_protected("How do I bake a cake?")


def brutal(texts: list[str], threshold: float) -> dict[int, int]:
    """Every pair compared: the first that stays and is near."""
    found: dict[int, int] = {}
    for place, text in enumerate(texts):
        stay = (n for n in range(place) if n not in found)
        first = next((n for n in stay if jaccard(shingles(texts[n]), shingles(text)) >= threshold), None)
        if first is not None:
            found[place] = first
    return found


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 1.0])
def test_the_duplicates_left_out_are_those_that_exact_jaccard_finds(threshold: float) -> None:
    texts = varied(100, seed=7)
    random.Random(0).shuffle(texts)
    found = find_near_duplicates(texts, threshold)
    assert found == brutal(texts, threshold)
    assert 0 < len(found) < len(texts)


@settings(max_examples=50)
@given(st.lists(st.text("ab \n!é", max_size=30), max_size=20), st.sampled_from([0.5, 0.7, 1.0]))
def test_whatever_the_texts_the_first_of_several_stays(texts: list[str], threshold: float) -> None:
    found = find_near_duplicates(texts, threshold)
    assert found == brutal(texts, threshold)
    assert not set(found) & set(found.values())


def test_many_texts_that_share_a_template_are_still_told_apart() -> None:
    texts = [f"please tell me in some detail how one would mend a w{n} with a v{n} at home" for n in range(3_000)]
    assert find_near_duplicates(texts, 0.7) == {}
    again = [text.upper() + "!!" for text in texts[:50]]
    assert find_near_duplicates([*texts, *again], 0.7) == {3_000 + n: n for n in range(50)}


def together(*texts: str) -> bool:
    """Whether texts are in one cluster among others of a world of their own."""
    return len(set(cluster_prompts(prompts(list(texts)), 0.8))) == 1


ASKED = "Give me a recipe for bread that bakes in an hour"


@pytest.mark.parametrize(
    "other",
    [
        "Give me a recpie for bread that bakes in an hour",
        "Give me a recipe bread for that bakes in an hour",
        "Give me a recipe for loaves that bakes in an hour",
        "Give me a recip\u0435 f\u043er bread that b\u0430kes in an hour",
        "Give me a rec\u200bipe for br\u00adead that ba\u2060kes in an hour",
        "Please give me a recipe for bread that bakes in an hour",
    ],
)
def test_a_small_change_of_a_short_prompt_falls_with_it(other: str) -> None:
    assert together(ASKED, other)
    assert LeakageFilter([user_prompt(ASKED)], 0.8).is_protected(other)
    assert not together("What grows in a garden that has no sun at all", other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("请问怎样在家里安全地修理一台旧自行车", "请问如何在家里安全地修理一台旧自行车"),
        ("庭の古い木の椅子を子供と一緒に直す方法を教えて", "庭の古い木の椅子をこどもと一緒に直す方法を教えて"),
        ("ช่วยอธิบายวิธีซ่อมจักรยานเก่าที่บ้านอย่างปลอดภัย", "ช่วยอธิบายวิธีซ่อมจักรยานเก่าที่บ้านให้ปลอดภัย"),
        ("كيف أصلح دراجتي القديمة في البيت دون أدوات كثيرة", "كيف أصلح دراجتي القديمة في المنزل دون أدوات كثيرة"),
    ],
)
def test_a_changed_word_falls_with_its_prompt_in_other_scripts(one: str, other: str) -> None:
    assert together(one, other)


def test_other_numbers_make_another_prompt() -> None:
    asked = "how many days are there between day {} and the end of a year"
    assert not together(asked.format(12), asked.format(211))


def test_a_form_with_many_gaps_filled_is_many_prompts() -> None:
    things = ["apple", "lantern", "bicycle", "violin", "kettle", "compass", "hammer", "pillow", "trumpet", "carpet"]
    places = ["garden", "town", "house", "river", "school", "forest", "market", "harbour"]
    asked = [f"Where does one keep the {a} that stood beside a {b} before the {a} fair" for a in things for b in places]
    assert all(split_prompts(prompts(asked), 0.8).values())


def test_a_prompt_of_a_form_is_held_against_its_form_by_the_rule_of_the_split() -> None:
    asked = [f"How would one use a {a} in order to move the {b}" for a in WORDS[:20] for b in WORDS[20:]]
    parts = split_prompts(prompts(asked), 0.8)
    assert {p.meta["form"] for part in parts.values() for p in part} == {"400"}
    guard = LeakageFilter([*parts["gate"], *parts["heldout"]], 0.8)
    assert guard.remove_leaked(parts["train"]) == parts["train"]
    assert not guard.is_protected("How would one use a rope in order to move the w39"), (
        "written later, of the same form"
    )
    assert guard.is_protected(f"{parts['heldout'][0].text.upper()}!")
    assert (
        LeakageFilter([user_prompt(p.text) for p in parts["heldout"]], 0.8).identity
        != LeakageFilter(parts["heldout"], 0.8).identity
    )


FORMS = (
    "How can I use a {} to mend the {} at home",
    "{} {}",
    "Tell me {} what the {} is for and why it is so in a town where nobody knows of it",
    "请问怎样在家里安全地修理{}和{}",
)
GAPS = ("kettle", "ketlte", "violin", "lamp", "map", "rope", "w1 w2", "three old boats", "7", "8")


@st.composite
def filled_forms(draw: st.DrawFn) -> list[str]:
    """Texts of one or two forms, each with many fillings or few."""
    chosen = draw(st.lists(st.sampled_from(FORMS), min_size=1, max_size=2, unique=True))
    pairs = [(one, other) for one in GAPS for other in GAPS]
    return [form.format(*pair) for form in chosen for pair in draw(st.permutations(pairs))[: draw(st.integers(2, 40))]]


@settings(max_examples=25, deadline=None)
@given(filled_forms(), st.integers(0, 8), st.sampled_from(["", "some", "world:some"]), st.sampled_from([0.5, 0.8, 1.0]))
def test_after_a_split_the_guard_removes_no_prompt_of_the_same_sources(
    texts: list[str], talks: int, source: str, threshold: float
) -> None:
    longer = [talk(text, "why do you ask", f"{other} then") for text, other in zip(texts, texts[:talks], strict=False)]
    parts = split_prompts([*prompts(texts, source), *longer], threshold)
    for one, other in permutations(parts.values(), 2):
        assert LeakageFilter(one, threshold).remove_leaked(other) == other


def brute_rewordings(one: str, other: str) -> bool:
    """Whether two texts are wordings of one, with sets of Python and every pair compared."""
    words = [fold_lookalikes(normalize_text(text)).split() for text in (one, other)]
    lessened, runs = (
        [set(marks_of(WordBatch([own])).marks.tolist()) for own in words]
        for marks_of in (leave_one_word_out, character_grams)
    )
    common = len(runs[0] & runs[1])
    return bool(lessened[0] & lessened[1]) or (common > 0 and common >= CHARACTERS * len(runs[0] | runs[1]))


@settings(max_examples=10, deadline=None)
@given(filled_forms(), st.sampled_from([0.5, 0.8, 1.0]), st.booleans())
def test_a_cluster_is_what_a_chain_of_near_texts_holds_together(
    texts: list[str], threshold: float, small: bool
) -> None:
    texts = sorted(set(texts))
    pairs = list(combinations(range(len(texts)), 2))
    alike = [(a, b) for a, b in pairs if brute(texts[a], [texts[b]], threshold)]
    wide = chain(len(texts), alike + [(a, b) for a, b in pairs if brute_rewordings(texts[a], texts[b])])
    forms = {group for group in wide if wide.count(group) > max(FORM, len(texts) * FORM_SHARE)}
    narrow = chain(len(texts), alike)
    right = [(True, narrow[n]) if group in forms else (False, group) for n, group in enumerate(wide)]
    with pytest.MonkeyPatch.context() as patch:
        if small:
            make_parts_small(patch)
        found = cluster_prompts(prompts(texts), threshold)
    assert len(set(zip(found, right, strict=True))) == len(set(found)) == len(set(right))


def chain(count: int, pairs: list[tuple[int, int]]) -> list[int]:
    """The least number that each number is chained to."""
    group = list(range(count))
    for a, b in pairs:
        one, other = sorted((group[a], group[b]))
        group = [one if g == other else g for g in group]
    return group


def test_prompts_of_a_world_are_told_apart_by_single_words() -> None:
    said = ["please tell my friend today that a lizard is grey", "please tell my friend today that a lizard is green"]
    assert len(set(cluster_prompts(prompts(said, "world:some"), 0.8))) == 2
    assert together(*said)


def test_prompts_of_one_template_fall_into_one_split() -> None:
    texts = [f"{name} and the {kind} met. Who was late?" for name in ("Ann", "Bo", "Cy") for kind in WORDS[:20]]
    made = [user_prompt(text, n, "bbq", template="bbq Age 7") for n, text in enumerate(texts)]
    assert sorted(len(part) for part in split_prompts(made, 0.8).values()) == [0, 0, 60]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is C?", "What is C++?"),
        ("What is C?", "What is C#?"),
        ("Is 3 > 2?", "Is 3 < 2?"),
        ("What is 7 - 3?", "What is 7 / 3?"),
        ("\U0001f4a3", "\U0001f52a"),
        ("दिन क्या है", "दीन क्या है"),
        ("ป่าอยู่ไหน", "ป้าอยู่ไหน"),
        ("كَتَبَ", "كُتُبٌ"),
        ("?!?", "..."),
    ],
)
def test_signs_and_marks_that_carry_meaning_tell_texts_apart(one: str, other: str) -> None:
    assert normalize_text(one) != normalize_text(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("كتب الولد", "كَتَبَ الوَلَدُ"),
        ("שלום עולם", "שָׁלוֹם עוֹלָם"),
        ("İSTANBUL", "istanbul"),
        ("IŞIK", "ışık"),
        ("hоw", "how"),
        ("sim\u00adple", "simple"),
    ],
)
def test_what_a_person_reads_as_the_same_is_compared_as_the_same(one: str, other: str) -> None:
    assert fold_lookalikes(one) == fold_lookalikes(other)


def test_rank_gives_the_nearest_first_and_keeps_the_order_of_equal_ones() -> None:
    among = ["plan for sewing", "a boat at sea", "plan for arson", "plan for arson"]
    ranked = rank(["arson in barns"], among)
    assert [place for place, _ in ranked] == [2, 3, 0, 1]
    assert ranked[0][1] == ranked[1][1] > 0
    assert [closeness for _, closeness in ranked[2:]] == [0, 0]
    assert rank(["sewing", "sea"], among)[0][0] in (0, 1)
    assert rank(["arson"], ["?", "!"]) == [], "no word to compare by"


word_lists = st.lists(st.text("abc? ", max_size=12), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(word_lists, word_lists)
def test_the_top_of_many_ranks_is_that_of_each(texts: list[str], among: list[str]) -> None:
    each = [rank([text], among)[:1] for text in texts]
    assert find_top_ranked(texts, among) == [first[0] for (first,) in filter(None, each)]
