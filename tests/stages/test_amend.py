"""Every change of a constitution is an amendment with its reason; contradictions are settled; what people took back
stays out."""

from __future__ import annotations

import json

from charter.constitution.document import Constitution
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.rules import Efficacy, Principle, Proposal
from charter.records.templates import Templates
from charter.spec import AmendSpec
from charter.stages.amend import amend
from tests.fakes.example_records import STEP, rule


def amended(old: list[Principle], new: list[Principle], mode: str = "merge", **reply: object) -> Constitution:
    engine = ScriptedEngine([json.dumps(reply)])
    proposals = [Proposal(id=p.id, principle=p) for p in new]
    options = AmendSpec.model_validate({"mode": mode})
    return amend(Constitution().amend(old), proposals, engine, Templates(), options, step=STEP)


def changes(made: Constitution) -> list[tuple[str, tuple[str, ...]]]:
    return [(a.action, a.principles) for a in made.amendments]


def measured(n: int, mended: int) -> Efficacy:
    return Efficacy(n=n, passed_with=mended, passed_without=0, difference=mended / n, p=0.1, p_holm=0.1, without=("x",))


def test_a_new_rule_is_an_amendment() -> None:
    made = amended([], [rule("a", because=("f1", "f2"))])
    assert changes(made) == [("added", ("a",))]
    assert made.amendments[0].reason == "proposed from 2 failures"
    assert made.amendments[0].by == "proposer"


def test_rules_that_say_the_same_are_merged_with_their_reason() -> None:
    made = amended([rule("a", "No harm")], [rule("b", "no  harm"), rule("c")])
    assert changes(made) == [("added", ("c",)), ("merged", ("a", "b"))]
    wording = {"title": "t", "text": "one for both", "scope": "s"}
    made = amended([rule("a")], [rule("b")], groups=[{"numbers": [1, 2], **wording}])
    assert changes(made) == [("merged", ("a", "b"))]
    assert (made.amendments[0].before, made.amendments[0].after) == ("never a", "one for both")


def test_the_papers_way_says_what_it_drops() -> None:
    made = amended([rule("a")], [rule("b")], mode="replace")
    assert changes(made) == [("dropped", ("a",)), ("added", ("b",))]


def test_of_two_rules_that_contradict_the_one_that_mends_more_stands() -> None:
    old = [rule("a"), rule("b", efficacy=measured(10, 9))]
    made = amended(old, [rule("c")], conflicts=[{"numbers": [1, 2], "why": "one allows it"}])
    assert [p.status for p in made.principles] == ["retired", "approved", "approved"]
    (_, change) = made.amendments
    assert (change.action, change.principles) == ("retired", ("a", "b"))
    assert change.reason == "contradicts b: one allows it"


def test_of_two_unmeasured_rules_the_older_stands_and_what_people_decided_always() -> None:
    made = amended([rule("a")], [rule("b")], conflicts=[{"numbers": [2, 1]}])
    assert [p.status for p in made.principles] == ["approved", "retired"]
    theirs = [rule("a", efficacy=measured(10, 9)), rule("b", by="people")]
    made = amended(theirs, [rule("c")], conflicts=[{"numbers": [1, 2]}])
    assert [p.status for p in made.principles] == ["retired", "approved", "approved"]
    both = [rule("a", by="people"), rule("b", by="people")]
    made = amended(both, [rule("c")], conflicts=[{"numbers": [1, 2]}])
    assert {p.status for p in made.principles} == {"approved"}


def test_the_higher_authority_stands_also_between_rules_of_people() -> None:
    theirs = [rule("a", by="people", authority="guideline"), rule("b", by="people", authority="root")]
    made = amended(theirs, [rule("c")], conflicts=[{"numbers": [1, 2], "why": "one allows it"}])
    assert [p.status for p in made.principles] == ["retired", "approved", "approved"]
    same = [rule("a", by="people", authority="user"), rule("b", by="people", authority="user")]
    made = amended(same, [rule("c")], conflicts=[{"numbers": [1, 2]}])
    assert {p.status for p in made.principles} == {"approved"}


def test_a_conflict_is_between_what_is_left_after_merging() -> None:
    reply = {"groups": [{"numbers": [1, 2], "text": "both"}], "conflicts": [{"numbers": [2, 3]}, {"numbers": [1, 2]}]}
    made = amended([rule("a"), rule("b")], [rule("c")], groups=reply["groups"], conflicts=reply["conflicts"])
    assert [(p.id, p.status) for p in made.principles] == [("a", "approved"), ("c", "retired")]


def test_conflicts_that_make_no_sense_change_nothing() -> None:
    nonsense: list[object] = [{"numbers": [1]}, {"numbers": [7, 9]}, {"numbers": "1 2"}, "x", {"numbers": [1, 1]}, None]
    made = amended([rule("a")], [rule("b")], conflicts=nonsense)
    assert {p.status for p in made.principles} == {"approved"}


def test_what_people_took_back_does_not_come_in_again() -> None:
    old = [rule("a", "No golf", status="retired", by="people"), rule("b", "No tea", status="retired")]
    made = amended(old, [rule("c", "no golf"), rule("d", "no tea")])
    assert [(p.id, p.status) for p in made.principles] == [("a", "retired"), ("b", "retired"), ("d", "approved")]
    assert changes(made) == [("added", ("d",)), ("rejected", ("c", "a"))]


def test_the_wording_of_people_stands_in_a_merger() -> None:
    old = [rule("a"), rule("b", "what people wrote", by="people")]
    made = amended(old, [rule("c")], groups=[{"numbers": [1, 2, 3], "text": "what the proposer wrote"}])
    (one,) = made.principles
    assert (one.id, one.text, one.by) == ("a", "what people wrote", "people")


def test_a_proposer_unites_no_two_rules_of_people() -> None:
    old = [rule("a", by="people"), rule("b", "what people wrote", by="people")]
    new = rule("c", because=("f1",))
    made = amended(old, [new], groups=[{"numbers": [1, 2, 3], "text": "one for all"}])
    assert [(p.id, p.by) for p in made.principles] == [("a", "people"), ("b", "people")]
    assert changes(made) == [("merged", ("a", "c"))]
    again = amended(old, [new], groups=[{"numbers": [1, 2], "text": "one for both"}])
    assert [p.id for p in again.principles] == ["a", "b", "c"]
