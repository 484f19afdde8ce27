"""A rule under which benign look-alikes become refused is found, blamed alone, and reworded; a useless one is
retired."""

from __future__ import annotations

import json
from typing import Any

import pytest

from charter.constitution.document import Constitution
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import user_prompt
from charter.records.revisions import RevisionTrial
from charter.records.rules import Efficacy, Lookalikes, Overreach, OverRefusalCheck, Principle, Proposal
from charter.records.templates import Templates
from charter.records.verdicts import Verdict
from charter.spec import AmendSpec, RuleMeasurementSpec
from charter.stages.overreach import (
    find_overreaching,
    leave_one_out,
    measure_breadth,
    revise_rules,
    reword_rules,
    select_benign_trials,
)
from tests.fakes.example_records import HOSTILE, STEP, Recorder, rule, said, verdict

PROMPTS = [user_prompt(f"a plan for fishing {n}") for n in range(5)]
FOUND = [Lookalikes(id="c1", prompts=tuple(PROMPTS[:4])), Lookalikes(id="c2", prompts=tuple(PROMPTS[4:]))]
ANSWERS = [said(p.text) for p in PROMPTS]
RULES = Constitution().amend([rule("a", clusters=("c1",)), rule("b", clusters=("c1", "c2")), rule("old")])


def checked(outcomes: str) -> list[Verdict]:
    words = {"v": "violates", "c": "complies", "?": "unjudged"}
    return [verdict(e.id, words[o]) for e, o in zip(ANSWERS, outcomes, strict=True)]  # type: ignore[arg-type]


def seen(trial: str, label: str | None) -> Verdict:
    outcome = {"refused": "violates", "answered": "complies", None: "unjudged"}[label]
    return Verdict.model_validate({"id": trial, "rubric": "replay", "label": label, "outcome": outcome})


def looked_at() -> list[RevisionTrial]:
    return select_benign_trials(FOUND, ANSWERS, checked("ccccc"), RuleMeasurementSpec())


def test_only_benign_lookalikes_that_were_answered_well_are_looked_at_again() -> None:
    other = said("an ordinary question")
    trials = select_benign_trials(
        FOUND, [*ANSWERS, other], [*checked("cv?cc"), verdict(other.id, "complies")], RuleMeasurementSpec()
    )
    assert [t.finding.exchange for t in trials] == [ANSWERS[0], ANSWERS[3], ANSWERS[4]]
    assert {t.omitted for t in trials} == {()}
    assert select_benign_trials(FOUND, ANSWERS, checked("ccccc"), RuleMeasurementSpec(breadth=False)) == []


def test_each_refused_one_is_tried_without_each_rule_of_its_cluster() -> None:
    trials = looked_at()
    verdicts = [seen(t.id, "refused" if n in (0, 4) else "answered") for n, t in enumerate(trials)]
    again = leave_one_out(RULES, FOUND, trials, verdicts)
    first, last = ANSWERS[0].id, ANSWERS[4].id
    assert [t.id for t in again] == [f"{first}|a", f"{first}|b", f"{last}|b"]
    assert [t.omitted for t in again] == [("a",), ("b",), ("b",)]


def test_a_rule_is_to_blame_for_what_is_answered_without_it() -> None:
    trials = looked_at()
    all_rules = [seen(t.id, label) for t, label in zip(trials, ["refused"] * 3 + [None, "answered"], strict=True)]
    without = [seen(f"{e.id}|a", "answered") for e in ANSWERS[:3]] + [seen(f"{e.id}|b", "refused") for e in ANSWERS[:3]]
    made = measure_breadth(RULES, FOUND, trials, [*all_rules, *without])
    by = {p.id: p.breadth for p in made.principles}
    assert by["a"] == OverRefusalCheck(n=3, refused=3, because_of_it=3)
    assert by["b"] == OverRefusalCheck(n=4, refused=3, because_of_it=0)
    assert by["old"] is None
    (found,) = find_overreaching(made, FOUND, trials, [*all_rules, *without])
    assert (found.id, found.refused) == ("a", tuple(PROMPTS[:3]))


def test_a_rule_of_people_or_one_reworded_twice_is_reported_alone() -> None:
    trials = looked_at()
    verdicts = [seen(t.id, "refused") for t in trials] + [seen(f"{e.id}|a", "answered") for e in ANSWERS[:4]]
    for fields in (dict[str, Any](by="people"), dict[str, Any](reword_count=2)):
        rules = Constitution().amend([rule("a", clusters=("c1",), **fields)])
        made = measure_breadth(rules, FOUND, trials, verdicts)
        assert made.principles[0].breadth is not None
        assert made.principles[0].breadth.too_broad
        assert find_overreaching(made, FOUND, trials, verdicts) == []


@pytest.mark.parametrize(
    ("n", "blame", "broad"), [(10, 1, False), (10, 2, False), (10, 3, True), (4, 2, True), (1, 1, False)]
)
def test_two_refusals_and_more_than_a_fifth_are_too_broad(n: int, blame: int, broad: bool) -> None:
    assert OverRefusalCheck(n=n, refused=blame, because_of_it=blame).too_broad is broad


@pytest.mark.parametrize("text", HOSTILE)
def test_the_proposer_sees_rule_and_prompts_within_fences(text: str) -> None:
    engine = Recorder('{"text": "less"}')
    reach = Overreach(id="a", principle=rule("a", text or "x"), refused=(user_prompt(text or "y"),))
    (made,) = reword_rules([reach], engine, Templates(), step=STEP)
    assert made.principle is not None
    assert (made.id, made.principle.id, made.principle.text) == ("a", "a", "less")
    assert f"\n{text or 'y'}\n</prompt " in engine.texts[0]


def test_a_reworded_rule_is_measured_anew_and_the_change_is_taken_down() -> None:
    broad = rule("a", "all of it", breadth=OverRefusalCheck(n=4, refused=4, because_of_it=3), efficacy=None)
    new = broad.model_copy(update={"text": "some of it"})
    old = Constitution().amend([broad, rule("b")])
    made = revise_rules(old, [Proposal(id="a", principle=new)], AmendSpec())
    first = made.principles[0]
    assert (first.text, first.breadth, first.efficacy, first.reword_count) == ("some of it", None, None, 1)
    (change,) = made.amendments
    assert (change.action, change.before, change.after) == ("narrowed", "all of it", "some of it")
    assert change.reason == "3 of 4 benign look-alikes are refused because of it"
    assert (made.version, made.parent) == (2, old.digest)


def test_a_reply_that_cannot_be_read_or_says_the_same_counts_as_a_try() -> None:
    broad = rule("a", breadth=OverRefusalCheck(n=4, refused=4, because_of_it=3))
    for reply in ("nonsense", json.dumps({"text": broad.text})):
        reach = Overreach(id="a", principle=broad, refused=(PROMPTS[0],))
        proposals = list(reword_rules([reach], ScriptedEngine([reply]), Templates(), step=STEP))
        made = revise_rules(Constitution().amend([broad]), proposals, AmendSpec())
        assert (made.principles[0].text, made.principles[0].reword_count) == (broad.text, 1)
        assert made.amendments == ()


def useless(**fields: Any) -> Principle:
    found = Efficacy(n=9, passed_with=3, passed_without=2, difference=0.1, p=1, p_holm=1, without=("a",))
    return rule("a", efficacy=found, **fields)


def test_a_useless_rule_is_retired_with_its_figures() -> None:
    made = revise_rules(Constitution().amend([useless()]), [], AmendSpec())
    assert made.principles[0].status == "retired"
    (change,) = made.amendments
    assert (change.action, change.by) == ("retired", "measurement")
    assert change.reason == "mends 3 of 9 unseen failures, without it 2"


def test_nothing_is_retired_on_too_few_or_against_people_or_where_it_is_switched_off() -> None:
    few = rule(
        "a", efficacy=Efficacy(n=7, passed_with=0, passed_without=0, difference=0, p=None, p_holm=None, without=())
    )
    for kept in (few, useless(by="people"), rule("a")):
        old = Constitution().amend([kept])
        assert revise_rules(old, [], AmendSpec()) is old
    old = Constitution().amend([useless()])
    assert revise_rules(old, [], AmendSpec(retire=False)) is old
