"""Rounds of critique and revision: which revision of an answer counts in the end, and which verdict on it."""

from __future__ import annotations

import pytest

from charter.records.chat import StopReason
from charter.records.revisions import Revision
from charter.stages.critique_rounds import final_revisions, final_verdicts
from tests.fakes.example_records import finding, revision, verdict

FOUND = [finding("ask", id=f"f{n}") for n in range(3)]


def made(*answers: str, stop: StopReason = "stop") -> list[Revision]:
    return [revision(f, text, stop) for f, text in zip(FOUND, answers, strict=False)]


@pytest.mark.parametrize("later", [made("", stop="error"), made(" \n")])
def test_a_later_round_without_an_answer_leaves_the_earlier_one_with_its_verdict(later: list[Revision]) -> None:
    rounds = [made("first", "kept"), later, made("", stop="error")]
    found = final_revisions(rounds)
    assert [r.exchange.response for r in found] == ["first", "kept"]
    judged = [[verdict("f0", "violates"), verdict("f1", "complies")], [verdict("f0", "unjudged")], []]
    assert [(v.id, v.outcome) for v in final_verdicts(found, rounds, judged)] == [
        ("f0", "violates"),
        ("f1", "complies"),
    ]


def test_the_last_answer_counts_and_one_that_nobody_judged_has_no_verdict() -> None:
    rounds = [made("one", "two"), made("three", "four")]
    found = final_revisions(rounds)
    assert [r.exchange.response for r in found] == ["three", "four"]
    judged = [[verdict("f0", "violates"), verdict("f1", "violates")], [verdict("f1", "complies")]]
    assert [(v.id, v.outcome) for v in final_verdicts(found, rounds, judged)] == [("f1", "complies")]


def test_where_no_round_gave_an_answer_the_first_failure_is_there_to_be_counted() -> None:
    rounds = [made("", stop="error"), made("")]
    assert final_revisions(rounds) == rounds[0]
