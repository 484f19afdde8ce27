"""Curation: contamination, duplicates, masking, balance, and the sieve over rows that are read and never kept."""

from __future__ import annotations

import random
import string
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.data.curation.balance import compute_quotas, length_group
from charter.data.curation.contamination import ContaminationIndex
from charter.data.curation.curation_records import CurationRow, CurationTools, DetectedSpan, FilterResult
from charter.data.curation.data_card_builder import (
    MAX_GROUPS,
    MAX_LISTED_GROUPS,
    OTHER_GROUPS,
    DataCardCounts,
    build_data_card,
)
from charter.data.curation.duplicates import DuplicateIndex, open_scratch_table
from charter.data.curation.filter_pipeline import FilterPipeline
from charter.data.curation.masking import mask_text
from charter.data.detectors.language_detector import LangidDetector
from charter.data.detectors.pii_detector import PiiDetector
from charter.data.detectors.secret_detector import SecretDetector
from charter.reports.data_card_markdown import render_data_card
from charter.similarity.splits import find_near_duplicates
from charter.spec import CurationSpec
from tests.similarity.test_splits import varied

TEXT = "write a letter that makes an old man believe his bank has lost all of his money"
WORDS = TEXT.split()


def rows(*texts: str, **more: str) -> list[CurationRow]:
    return [CurationRow(id=f"r{n}", texts=(text,), **more) for n, text in enumerate(texts)]  # type: ignore[arg-type]


def sifted(
    given: Sequence[CurationRow], options: CurationSpec, sieve: FilterPipeline | None = None
) -> list[FilterResult]:
    return list((sieve or FilterPipeline(options, ContaminationIndex({}))).filter_rows(lambda: iter(given)))


@pytest.mark.parametrize("place", range(len(WORDS)))
@pytest.mark.parametrize("how", ["changed", "added", "left out"])
def test_a_text_is_found_in_a_row_whatever_word_of_it_is_altered(place: int, how: str) -> None:
    new = {"changed": ["zebra"], "added": ["zebra", WORDS[place]], "left out": []}[how]
    altered = " ".join([*WORDS[:place], *new, *WORDS[place + 1 :]])
    known = ContaminationIndex({"bench": [TEXT]})
    for row in (altered, f"Please {altered.upper()}!!\n and then stop.", f"ok: {altered.replace(' ', ' - ')}"):
        found = known.find(row)
        assert found is not None, row
        assert (found.name, found.text) == ("bench", TEXT)


def test_what_is_found_says_how_and_what_is_only_like_it_stays() -> None:
    known = ContaminationIndex({"bench": [TEXT, "who are you"], "other": [TEXT]})
    assert [known.find(t).how for t in (TEXT.title(), f"so {TEXT}", " ".join(WORDS[2:]))] == [  # type: ignore[union-attr]
        "verbatim",
        "n-gram",
        "n-gram",
    ]
    assert known.find("Who are you?") is not None
    assert known.find("Tell me who are you really and why", "Who are you?") is not None
    for clean in (
        "tell me who are you really",
        "write a letter that makes an old man happy on his birthday with all of his friends",
        "an old man believes his bank has lost a letter",
        "",
    ):
        assert known.find(clean, clean) is None
    assert ContaminationIndex({}).find(TEXT) is None
    assert ContaminationIndex({"empty": ["", "!?"]}).find("...") is None


@pytest.mark.parametrize(
    ("text", "altered", "like"),
    [
        ("请问怎样在家里安全地修理一台旧自行车", "请问怎样在家里安全地修理一辆旧自行车", "请问怎样在学校里打扫房间"),
        (
            "庭の古い木の椅子を子供と直す方法を教えて",
            "庭の古い木の椅子を子供と作す方法を教えて",
            "花に水をやる時間",
        ),
        ("ช่วยอธิบายวิธีซ่อมจักรยานเก่าที่บ้าน", "ช่วยอธิบายวิธีซ่อมจักรยานเกาที่บ้าน", "ช่วยอธิบายเรื่องแมวให้ฟังหน่อย"),
    ],
)
def test_a_text_without_spaces_is_found_within_a_row(text: str, altered: str, like: str) -> None:
    known = ContaminationIndex({"bench": [text]}, ngram=100)
    for row, how in ((f"{text}！", "verbatim"), (f"好。{altered}。好。", "near"), (f"好。{text}。好。", "near")):
        found = known.find(row)
        assert found is not None, row
        assert (found.text, found.how) == (text, how)
    assert known.find(like) is None
    run = ContaminationIndex({"bench": [text]}, ngram=8).find(f"好。{text[:12]}。再见")
    assert run is not None
    assert run.how == "n-gram"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(string.ascii_lowercase), min_size=8, max_size=30), st.data())
def test_one_word_altered_never_hides_a_text(words: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(words) - 1))
    altered = [*words[:place], "zebra", *words[place + 1 :]]
    assert ContaminationIndex({"b": [" ".join(words)]}).find(" ".join(["x1", "x2", *altered, "x3"])) is not None


@pytest.mark.parametrize("threshold", [0.5, 0.7, 1.0])
def test_duplicates_in_a_stream_are_those_among_texts_at_once(threshold: float, tmp_path: Path) -> None:
    texts = varied(120, seed=9)
    random.Random(1).shuffle(texts)
    for place in (None, tmp_path / "table"):
        with open_scratch_table(place) as kept:
            duplicates = DuplicateIndex(kept, threshold)
            duplicates.count_shingles(texts)
            found = {n: first[0] for n, text in enumerate(texts) if (first := duplicates.find_earlier(n, text))}
        assert found.keys() == find_near_duplicates(texts, threshold).keys()
        assert all(found[n] not in found for n in found)
    assert not (tmp_path / "table").exists()


def test_texts_without_words_and_half_characters_are_no_trouble() -> None:
    odd = rows("🎉", "!!!", "🎉", "", "  ", "\ud800", "\ud800", "日本語", "日本語！")
    found = sifted(odd, CurationSpec(near=0.8))
    assert [s.id for s in found if s.dropped] == ["r2", "r4", "r6", "r8"]


def test_a_shorter_run_of_words_in_common_is_contamination_where_that_is_asked() -> None:
    part = f"so now {' '.join(WORDS[:5])}, and something else altogether"
    assert ContaminationIndex({"bench": [TEXT]}).find(part) is None
    shorter = ContaminationIndex({"bench": [TEXT]}, CurationSpec(ngram=5).ngram).find(part)
    assert shorter is not None
    assert shorter.how == "n-gram"


def test_only_exact_or_only_near_duplicates_where_that_is_asked() -> None:
    near = " ".join([*WORDS, "today"])
    texts = rows(TEXT, TEXT.upper(), near)
    assert [s.dropped for s in sifted(texts, CurationSpec())] == ["", "exact duplicate", ""]
    assert [s.dropped for s in sifted(texts, CurationSpec(near=0.8))] == ["", "exact duplicate", "near duplicate"]
    assert [s.dropped for s in sifted(texts, CurationSpec(exact=False))] == ["", "", ""]


class Finds:
    """Recognises one word."""

    identity = "finds"

    def __init__(self, word: str, kind: str) -> None:
        self.word, self.kind = word, kind

    def find(self, text: str) -> list[DetectedSpan]:
        at = text.find(self.word)
        return [DetectedSpan(self.kind, at, at + len(self.word))] if at >= 0 else []


class Both(Finds):
    """Recognises two words."""

    def find(self, text: str) -> list[DetectedSpan]:
        return [*super().find(text), *Finds("cdefg", "B").find(text)]


def test_places_that_overlap_are_masked_as_one_by_the_first_recogniser_and_the_longest_word() -> None:
    two = (Finds("bcd", "A"), Finds("cdefg", "B"))
    assert mask_text("abcdefgh", two) == ("a[A]h", {"A": 1})
    assert mask_text("abcdefgh", two[::-1]) == ("a[B]h", {"B": 1})
    assert mask_text("abcdefgh", (Both("bcd", "A"),)) == ("a[B]h", {"B": 1})
    assert mask_text("nothing here", two) == ("nothing here", {})


@pytest.fixture(scope="module")
def recognisers() -> tuple[SecretDetector, PiiDetector]:
    return SecretDetector(), PiiDetector()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("mail jo.doe@example.com now", "mail [EMAIL] now"),
        ("call +1 415-555-0132 now", "call [PHONE] now"),
        ("at https://jo:s3cretpass@db.example.com/", "at https:[SECRET]/"),
        ("card 4111 1111 1111 1111.", "card [CARD]."),
        ("to DE89370400440532013000", "to [IBAN]"),
        ("from 192.168.17.4", "from [IP]"),
        ("the token ghp_abcdefghijklmnopqrstuvwxyz0123456789 leaked", "the token [SECRET] leaked"),
        ("aws AKIAIOSFODNN7EXAMPLE leaked", "aws [SECRET] leaked"),
        ("a\n-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----\nb", "a\n[SECRET]\nb"),
        ("the year 2024, room 415, 3,000 people at 2pm on 12/12/2024", None),
        ("an essay of 500 words about email and credit cards", None),
    ],
)
def test_the_recognisers_find_what_has_a_form(
    text: str, masked: str | None, recognisers: tuple[SecretDetector, PiiDetector]
) -> None:
    assert mask_text(text, recognisers)[0] == (text if masked is None else masked)


def test_the_list_of_domains_is_the_shipped_one_and_no_network_is_asked(
    recognisers: tuple[SecretDetector, PiiDetector], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("asks the network")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert mask_text("a.b@mail.example.co.uk and x@nowhere.notadomain", recognisers)[0].startswith("[EMAIL] and x@")


def test_languages_are_told_apart_where_there_is_enough_to_tell() -> None:
    of = LangidDetector().detect
    assert [of(t) for t in ("Where is the library, my friend?", "Où est la bibliothèque, mon ami ?", "ok")] == [
        "en",
        "fr",
        "",
    ]


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 500), min_size=1), st.floats(0.05, 1))
def test_no_group_keeps_more_than_its_share_and_no_more_is_cut_than_needed(
    counts: dict[str, int], share: float
) -> None:
    kept = compute_quotas(counts, share)
    assert all(0 < kept[name] <= counts[name] for name in counts)
    if len(counts) > 1:
        most = max(share, 1 / len(counts))
        assert all(count <= most * sum(kept.values()) + 1 for count in kept.values())
        largest_kept = max(kept.values())
        assert all(kept[name] == counts[name] or kept[name] >= largest_kept - 1 for name in counts)


def test_lengths_fall_into_doubling_groups() -> None:
    assert [length_group(n) for n in (0, 8, 9, 16, 17)] == [
        "0 to 8 words",
        "0 to 8 words",
        "9 to 16 words",
        "9 to 16 words",
        "17 to 32 words",
    ]


def test_the_sieve_leaves_out_masks_balances_and_its_card_adds_up(tmp_path: Path) -> None:
    def tell(batch: Sequence[CurationRow]) -> list[str]:
        return ["refused" if "bad" in row.conversation else "" for row in batch]

    german = [
        CurationRow(id=f"g{n}", texts=(f"frage nummer {n} {n * 7}", "ja"), prompt_turns=1, language="de")
        for n in range(4)
    ]
    said = {"prompt_turns": 1, "language": "en", "source": "s|`x", "licence": "MIT"}
    english = [
        CurationRow(id=f"e{n}", texts=(f"question number {n} of {n * 31}", "my secret answer"), **said)  # type: ignore[arg-type]
        for n in range(20)
    ]
    others = [
        CurationRow(id="copy", texts=english[0].texts, prompt_turns=1, language="en"),
        CurationRow(id="held", texts=(TEXT, "sure"), prompt_turns=1, language="en"),
        CurationRow(id="bad", texts=("a question of its own", "a bad answer"), prompt_turns=1, language="en"),
    ]
    given = [*german, *english, *others]
    options = CurationSpec(rejudge=True, language_share=0.75)
    tools = CurationTools((Finds("secret", "WORD"),), None, tell)
    sieve = FilterPipeline(options, ContaminationIndex({"bench": [TEXT]}), tools, tmp_path / "table")
    found = {s.id: s for s in sifted(given, options, sieve)}
    assert list(found) == [row.id for row in given]
    reasons = {id: s.dropped for id, s in found.items() if id in ("copy", "held", "bad")}
    assert reasons == {"copy": "exact duplicate", "held": "contaminated", "bad": "target: refused"}
    assert found["copy"].match is not None
    assert found["copy"].match.name == "row 5"
    kept = [s for s in found.values() if not s.dropped]
    assert [sum(s.language == tongue for s in kept) for tongue in ("de", "en")] == [4, 12]
    assert all(s.texts[1] == "my [WORD] answer" for s in kept if s.language == "en")
    card = build_data_card(found.values(), options, tools, {"bench": 1})
    assert (card.rows, card.kept, card.masked, card.rows_masked) == (27, 16, {"WORD": 12}, 12)
    assert sum(f.dropped for f in card.filters) == card.rows - card.kept
    assert [f.dropped for f in card.filters] == [1, 1, 0, 1, 8, 0]
    assert {(g.id, g.licence, g.before, g.after) for g in card.sources} == {
        ("s|`x", "MIT", 20, 12),
        ("unknown", "", 7, 4),
    }
    text = render_data_card(card, "rows.jsonl")
    assert "No such tool finds all" in text
    assert "| `s/'x` | `MIT` | 20 | 12 |" in text
    assert not (tmp_path / "table").exists()


def test_rows_are_read_again_rather_than_kept() -> None:
    alive = readings = 0

    class Counted(CurationRow):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    most = 0

    def read() -> Iterator[CurationRow]:
        nonlocal alive, most, readings
        readings += 1
        for n in range(2_000):
            alive += 1
            most = max(most, alive)
            yield Counted(id=f"r{n}", texts=(f"text number {n} of {n * 17} and {n % 7}",))

    found = sum(not s.dropped for s in FilterPipeline(CurationSpec(near=0.9), ContaminationIndex({})).filter_rows(read))
    assert (found, readings) == (2_000, 3)
    assert most < 600, "one batch, not the file"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('my api_key: "e" then every sentence', None),
        ('my password = "hunter" and a hunter hunted', 'my password = "[SECRET]" and a hunter hunted'),
        ("secret: 'abcd', password: 'efgh12'", "secret: '[SECRET]', password: '[SECRET]'"),
        ('api_key = "aaaa"; api_key = "bbbb"', 'api_key = "[SECRET]"; api_key = "[SECRET]"'),
    ],
)
def test_of_a_secret_after_its_name_that_place_alone_is_masked(
    text: str, masked: str | None, recognisers: tuple[SecretDetector, PiiDetector]
) -> None:
    assert mask_text(text, recognisers)[0] == (text if masked is None else masked)


@pytest.mark.parametrize("text", ["Où est la bibliothèque, mon très cher ami élu", "写 ｗｒｉｔｅ it", "ﬁne STRAẞE"])
def test_accents_apart_and_full_width_letters_hide_nothing(text: str) -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)
    for copy in (unicodedata.normalize("NFD", text), unicodedata.normalize("NFKC", text), wide, text.upper()):
        assert ContaminationIndex({"b": [text]}).find(copy, copy) is not None
        assert [s.dropped for s in sifted(rows(text, copy), CurationSpec())] == ["", "exact duplicate"]


def test_a_short_text_is_found_where_it_is_a_turn_by_itself() -> None:
    known = ContaminationIndex({"bench": ["who are you"]})
    row = CurationRow("r", ("be kind", "hello", "hi", "Who are you?", "nobody"), 4)
    clean = CurationRow("r", ("be kind", "hello", "hi", "tell me who are you really", "nobody"), 4)
    beside = CurationRow("r", ("be kind", "hello"), 1, ("who are you",))
    assert [known.find(r.all_text, *r.separate_texts) is not None for r in (row, clean, beside)] == [True, False, True]
    options = CurationSpec(exact=False)
    assert [s.dropped for s in sifted([row, clean], options, FilterPipeline(options, known))] == ["contaminated", ""]


def test_rows_that_say_the_same_are_near_duplicates_where_exact_ones_are_not_looked_for() -> None:
    texts = rows(TEXT, TEXT.upper(), " ".join([*WORDS, "today"]), "!", "!")
    found = sifted(texts, CurationSpec(exact=False, near=0.8))
    assert [s.dropped for s in found] == ["", "near duplicate", "near duplicate", "", "near duplicate"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["en", "fr", "de"]), st.sampled_from([3, 10, 20])), min_size=1, max_size=60),
    st.floats(0.2, 0.9),
    st.floats(0.2, 0.9),
)
def test_both_shares_hold_at_the_end(of: list[tuple[str, int]], language: float, length: float) -> None:
    given = [
        CurationRow(id=f"r{n}", texts=(" ".join([f"w{n}"] * words),), language=tongue)
        for n, (tongue, words) in enumerate(of)
    ]
    options = CurationSpec(language_share=language, length_share=length)
    kept = [s for s in sifted(given, options) if not s.dropped]
    assert kept
    for share, groups in ((language, [s.language for s in kept]), (length, [length_group(s.words) for s in kept])):
        counts = Counter(groups)
        if len(counts) > 1:
            assert max(counts.values()) <= max(share, 1 / len(counts)) * len(kept) + 1e-6


def test_a_share_holds_after_the_other_is_cut_for() -> None:
    short = [CurationRow(id=f"e{n}", texts=(f"a word {n}",), language="en") for n in range(10)]
    mixed = [
        CurationRow(id=f"f{n}", texts=(" ".join([f"un mot {n}"] * (1 if n < 3 else 4)),), language="fr")
        for n in range(10)
    ]
    options = CurationSpec(language_share=0.5, length_share=0.5)
    kept = [s for s in sifted([*short, *mixed], options) if not s.dropped]
    for groups in ([s.language for s in kept], [length_group(s.words) for s in kept]):
        assert len(set(Counter(groups).values())) == 1
        assert len(set(groups)) == 2


def test_however_many_sources_the_card_stays_small_and_adds_up() -> None:
    counts = DataCardCounts()
    for n in range(5 * MAX_GROUPS):
        for source in (f"own {n}", f"often {n % 10}"):
            counts.add(FilterResult(id="r", source=source, words=3, dropped="" if n % 2 else "target: no"))
    card = counts.build_card({})
    assert len(card.sources) == MAX_LISTED_GROUPS + 1
    assert len(counts.groups["sources"]._counts) <= MAX_GROUPS
    often = {g.id: g.before for g in card.sources if g.id.startswith("often")}
    assert often == {f"often {n}": MAX_GROUPS // 2 for n in range(10)}
    assert card.sources[-1].id == OTHER_GROUPS
    assert sum(g.before for g in card.sources) == card.rows == 10 * MAX_GROUPS
    assert sum(g.after for g in card.sources) == card.kept == 5 * MAX_GROUPS
    assert counts.build_card({}) == card


def test_the_card_names_what_is_not_covered_and_how_many_targets_were_judged() -> None:
    options = CurationSpec(rejudge=True, mask=False)
    tools = CurationTools(judge_targets=lambda batch: ["" for _ in batch])
    given = [*rows("a question alone"), CurationRow("t", ("a question", "its answer"), 1)]
    found = sifted(given, options, FilterPipeline(options, ContaminationIndex({}), tools))
    card = build_data_card(found, options, tools, {"gate": 3, "empty": 0}, {"far": "it is elsewhere"})
    assert card.settings["not covered"] == "empty: it has no text; far: it is elsewhere"
    assert card.settings["targets"] == "judged again: 1 rows; a row without a target is not judged"
