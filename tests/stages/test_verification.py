"""Verification: a revision becomes a row only if nothing speaks against it, and every reason is kept."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.records.chat import StopReason
from charter.records.revisions import RevisionCheck
from charter.records.training_rows import Example
from charter.records.verdicts import Outcome, Verdict
from charter.spec import VerifySpec
from charter.stages.verification import OPENING_WORDS, select_for_help_check, to_examples, verify
from tests.fakes.example_records import finding, revision, row, verdict


def verified(
    answers: list[str],
    options: VerifySpec | None = None,
    before: list[Example] | None = None,
    conduct: Outcome = "complies",
    help_: Outcome = "complies",
    prompt: str = "ask",
    stop: StopReason = "stop",
    ratio: float = 0,
) -> list[RevisionCheck]:
    findings = [finding(prompt, id=f"f{n}") for n in range(len(answers))]
    revisions = [revision(f, text, stop) for f, text in zip(findings, answers, strict=True)]
    judged = (
        [verdict(f.id, conduct) for f in findings],
        [verdict(f.id, help_) for f in findings if conduct == "complies"],
    )
    return verify(revisions, *judged, before or [], options or VerifySpec(), ratio)


def test_a_good_revision_becomes_a_row_without_any_rule_in_it() -> None:
    (kept,) = verified(["no , but here is what helps"])
    assert (kept.kept, kept.reasons) == (True, ())
    (example,) = to_examples([kept])
    assert example.response == "no , but here is what helps"
    assert [m.content for m in example.messages] == ["ask"]
    assert (example.origin, example.because) == ("revision", ("f0", "p"))


@pytest.mark.parametrize(
    ("answer", "case", "reason"),
    [
        ("fine", {"conduct": "violates"}, "still violates"),
        ("fine", {"conduct": "unjudged"}, "unjudged"),
        ("fine", {"help_": "unjudged"}, "unjudged"),
        ("fine", {"help_": "violates"}, "only refuses where safe help exists"),
        ("fine", {"stop": "length"}, "does not end properly"),
        ("fine", {"stop": "error"}, "does not end properly"),
        (" \n", {}, "empty"),
        ("x" * 49, {}, "too long"),
        ("The principles forbid it.", {}, "speaks of the constitution, the critique or the earlier answer"),
        ("My previous answer was wrong.", {}, "speaks of the constitution, the critique or the earlier answer"),
        ("a b c d e f g h " * 3, {}, "repeats itself"),
        ("As the RULES say, no.", {}, "speaks of the constitution, the critique or the earlier answer"),
    ],
)
def test_each_reason_drops_a_revision(answer: str, case: dict[str, str], reason: str) -> None:
    (kept,) = verified([answer], VerifySpec(max_characters=48), **case)  # type: ignore[arg-type]
    assert (kept.kept, kept.reasons) == (False, (reason,))
    assert to_examples([kept]) == []


def test_a_revision_that_recites_a_rule_is_dropped_and_one_that_was_ended_is_kept() -> None:
    found = finding("ask", id="f")
    recited = revision(found, "never say how").model_copy(update={"recited": "never say how"})
    judged = [verdict("f", "complies")]
    (dropped,) = verify([recited], judged, judged, [], VerifySpec(), 0)
    assert (dropped.kept, dropped.reasons) == (False, ("recites a rule",))
    (kept,) = verify([revision(found, "I cannot.", "sentence")], judged, judged, [], VerifySpec(), 0)
    assert kept.kept


def test_every_reason_is_counted_not_only_the_first() -> None:
    (kept,) = verified(["The critique is right. " * 9], VerifySpec(max_characters=9), conduct="violates", stop="length")
    assert len(kept.reasons) == 5


def test_words_of_the_prompt_do_not_count_as_speaking_of_the_rules() -> None:
    assert verified(["The constitution of France dates from 1958."], prompt="when was the constitution written")[0].kept
    assert not verified(["My critique of the constitution"], prompt="when was the constitution written")[0].kept


def test_without_verification_everything_is_a_row() -> None:
    off = VerifySpec(verify=False, max_characters=3)
    kept = verified(
        ["the principles", "same same same same same", "same same same same same"],
        off,
        conduct="violates",
        stop="length",
    )
    assert [k.kept for k in kept] == [True] * 3
    assert len(to_examples(kept)) == 3


@pytest.mark.parametrize(("answer", "stop", "reason"), [(" \n", "stop", "empty"), ("", "error", "no answer")])
def test_without_verification_what_is_no_answer_is_no_row(answer: str, stop: StopReason, reason: str) -> None:
    kept = verified([answer], VerifySpec(verify=False), stop=stop)
    assert [(k.kept, k.reasons) for k in kept] == [(False, (reason,))]
    assert to_examples(kept) == []


def test_help_is_asked_about_only_where_conduct_complies() -> None:
    made = [revision(finding("ask", id=f"f{n}"), "x") for n in range(3)]
    checks: list[Verdict] = [verdict("f0", "complies"), verdict("f1", "violates"), verdict("f2", "unjudged")]
    assert [r.id for r in select_for_help_check(made, checks, VerifySpec())] == ["f0"]
    assert select_for_help_check(made, checks, VerifySpec(verify=False)) == []
    assert select_for_help_check(made, checks, VerifySpec(check_help=False)) == []
    (kept,) = verified(["no"], VerifySpec(check_help=False), help_="violates")
    assert not kept.kept, "a verdict that is there counts"


def shares(kept: list[RevisionCheck], before: list[Example], options: VerifySpec) -> list[tuple[int, int]]:
    """Rows that share an opening, of all rows, for each opening that a new row has."""
    new = to_examples(kept)
    opened = Counter(" ".join(e.response.lower().split()[:OPENING_WORDS]) for e in (*before, *new))
    return [(opened[" ".join(e.response.lower().split()[:OPENING_WORDS])], len(before) + len(new)) for e in new]


def test_one_opening_may_not_fill_the_rows() -> None:
    answers = [f"I am sorry that you number {n}" for n in range(8)] + ["one of a kind", "two of a kind"]
    kept = verified(answers)
    dropped = [k for k in kept if not k.kept]
    assert {k.reasons for k in dropped} == {("opening shared by more than 20% of the rows",)}
    assert all(k.kept for k in kept[8:])
    assert sum(k.kept for k in kept[:8]) == 1


@pytest.mark.parametrize(
    ("opening", "ends", "others"),
    [
        ("申し訳ございませんが、", "春夏秋冬海山川空", ("まず安全を確かめてください", "次の三つを試してください")),
        ("很抱歉，我不能帮助你们", "春夏秋冬海山川空", ("请先确认周围是否安全", "可以试试下面三种办法")),
        ("ขอโทษนะคะ ฉันช่วย", "กขคงจฉชซ", ("ลองถามเพื่อนบ้านก่อน", "ให้เริ่มจากงานเล็กเล็ก")),
    ],
)
def test_one_opening_may_not_fill_the_rows_where_words_have_no_spaces(
    opening: str, ends: str, others: tuple[str, str]
) -> None:
    """Eight answers that begin alike and end differently are eight times one opening; without letters of their own they
    would be eight words."""
    kept = verified([*(f"{opening}{end * 6}" for end in ends), *others])
    assert sum(k.kept for k in kept[:8]) == 1
    assert all(k.kept for k in kept[8:])


def test_the_rows_of_replay_count_beside_the_revisions() -> None:
    answers = [f"I am sorry that you number {n}" for n in range(8)] + ["one of a kind", "two of a kind"]
    assert sum(k.kept for k in verified(answers, ratio=1)[:8]) == 1
    assert sum(k.kept for k in verified(answers, ratio=3)[:8]) == 8


words = st.sampled_from(["a b c d e", "A  b c d e", "f g h i j", "k", "l m n o p", "q r s t u"])


@given(st.lists(words, max_size=25), st.lists(words, max_size=15), st.floats(0.05, 1))
def test_no_opening_exceeds_its_share_of_all_rows_unless_it_stands_alone(
    answers: list[str], earlier: list[str], share: float
) -> None:
    options = VerifySpec(opening_share=share)
    before = [row(f"old{n}").model_copy(update={"response": text}) for n, text in enumerate(earlier)]
    kept = verified([f"{text} {n}" if len(text) > 1 else text for n, text in enumerate(answers)], options, before)
    for count, total in shares(kept, before, options):
        assert count == 1 or count <= share * total
    assert not answers or before or any(k.kept for k in kept)


def test_which_rows_go_depends_on_their_ids_and_not_on_their_order() -> None:
    answers = [f"I am sorry that you number {n}" for n in range(10)]
    findings = [finding("ask", id=f"f{n}") for n in range(10)]
    made = [revision(f, text) for f, text in zip(findings, answers, strict=True)]
    judged = ([verdict(f.id, "complies") for f in findings], [verdict(f.id, "complies") for f in findings])
    first = verify(made, *judged, [], VerifySpec(), 0)
    again = verify(made[::-1], *judged, [], VerifySpec(), 0)
    assert {k.id for k in first if k.kept} == {k.id for k in again if k.kept}


def test_an_exempt_opening_may_be_as_common_as_it_is() -> None:
    answers = [f"sorry , i will not help with number {n} ." for n in range(10)]
    assert sum(k.kept for k in verified(answers)) == 1
    for exempt in ("sorry , i will not help", "Sorry ,  I will", "sorry"):
        assert all(k.kept for k in verified(answers, VerifySpec(exempt_openings=(exempt,))))
    assert sum(k.kept for k in verified(answers, VerifySpec(exempt_openings=("sorry , i will not give",)))) == 1
