"""Votes of people on rules."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.constitution.document import Constitution
from charter.constitution.ratification import count_votes, list_undecided
from charter.records.rule_decisions import RuleAction, RuleDecision, digest_wording, read_decisions
from charter.records.rules import Efficacy, OverRefusalCheck, Principle

USEFUL = Efficacy(n=9, passed_with=9, passed_without=0, difference=1.0, p=0.004, p_holm=0.004, without=("p-1",))
RULES = Constitution(
    principles=(
        Principle(
            id="p-1", title="Doors", text="Do not open doors.", status="approved", because=("f1",), efficacy=USEFUL
        ),
        Principle(id="p-2", title="Locks", text="Do not pick locks.", status="approved", because=("f2", "f3")),
        Principle(id="p-3", title="Old", text="Do not sing.", status="retired"),
    )
)


def vote(action: RuleAction, rule: str = "p-1", person: str = "Ada", **more: object) -> RuleDecision:
    return RuleDecision.model_validate({"id": "d1", "action": action, "principle": rule, "person": person, **more})


def settled(*votes: RuleDecision, approvals: int = 1, rules: Constitution = RULES) -> dict[str, Principle]:
    return {p.id: p for p in count_votes(rules, votes, approvals).principles}


def waiting(*votes: RuleDecision, approvals: int = 1, by_measurement: bool = False) -> list[str]:
    found = count_votes(RULES, votes, approvals)
    return [p.id for p in list_undecided(RULES, found, by_measurement=by_measurement)]


@pytest.mark.parametrize(("action", "status"), [("approve", "approved"), ("reject", "rejected"), ("retire", "retired")])
def test_one_vote_settles_where_one_is_enough(action: RuleAction, status: str) -> None:
    rule = settled(vote(action, note="seen"))["p-1"]
    assert (rule.status, rule.by) == (status, "people")
    (change,) = count_votes(RULES, [vote(action, note="seen", role="lead")]).amendments
    assert (change.action, change.by, change.reason) == (status, "people", f"{status} by Ada (lead): seen")


def test_two_different_people_are_needed_where_two_are_asked() -> None:
    assert settled(vote("reject"), vote("reject"), approvals=2)["p-1"].status == "approved", "one person, twice"
    assert settled(vote("reject"), vote("reject", person="Ben"), approvals=2)["p-1"].status == "rejected"
    assert settled(vote("reject"), vote("approve", person="Ben"), approvals=2)["p-1"].by == "proposer"


def test_dissent_is_kept() -> None:
    votes = [vote("reject", note="too narrow"), vote("approve", person="Ben"), vote("approve", person="Cy", note="yes")]
    (change,) = count_votes(RULES, votes, 2).amendments
    assert change.reason == "approved by Ben, Cy: yes; against: Ada: too narrow"


def test_who_changes_their_mind_has_one_vote() -> None:
    votes = [vote("reject"), vote("approve"), vote("approve", person="Ben")]
    (change,) = count_votes(RULES, votes, 2).amendments
    assert change.reason == "approved by Ada, Ben"


def test_a_new_wording_begins_anew_and_is_measured_anew() -> None:
    old = digest_wording(RULES.principle("p-1"))
    votes = [vote("edit", text="Open no door."), vote("approve", person="Ben", wording=old)]
    assert settled(*votes, approvals=2)["p-1"].text == "Do not open doors.", "Ben saw the old wording"
    new = digest_wording(Principle(id="", title="Doors", text="Open no door."))
    rule = settled(*votes, vote("approve", person="Ben", wording=new), approvals=2)["p-1"]
    assert (rule.text, rule.efficacy, rule.because) == ("Open no door.", None, ("f1",))


def test_a_new_rule_waits_for_its_votes() -> None:
    proposed = vote("propose", "h-1", text="Be kind.", title="Kind")
    assert settled(proposed)["h-1"].status == "proposed"
    assert settled(proposed, vote("approve", "h-1"))["h-1"].status == "approved"
    assert settled(vote("add", "h-1", text="Be kind."))["h-1"].status == "approved"
    assert settled(vote("add", "h-1", text="Be kind."), approvals=2)["h-1"].status == "proposed"


def test_one_wording_stands_for_several_rules() -> None:
    merged = vote("merge", "p-1", text="Do not enter.", merged=("p-2",))
    rules = settled(merged)
    assert (rules["p-1"].text, rules["p-1"].because) == ("Do not enter.", ("f1", "f2", "f3"))
    assert (rules["p-2"].status, rules["p-2"].by) == ("retired", "people")
    assert settled(merged, approvals=2)["p-2"].status == "approved"
    (change,) = count_votes(RULES, [merged]).amendments
    assert (change.action, change.principles, change.before) == ("merged", ("p-1", "p-2"), "Do not open doors.")


def test_votes_counted_again_change_nothing() -> None:
    """A later iteration reads all votes again."""
    votes = [vote("edit", text="Open no door."), vote("reject", "p-2"), vote("add", "h-1", text="Be kind.")]
    found = count_votes(RULES, votes)
    once = RULES.amend(found.principles, found.amendments)
    again = count_votes(once, votes)
    assert once.amend(again.principles, again.amendments) == once


def test_what_nobody_decided_waits() -> None:
    assert waiting() == ["p-1", "p-2"], "what is not in force needs no decision"
    assert waiting(by_measurement=True) == ["p-2"]
    assert waiting(vote("approve"), vote("reject", "p-2")) == []
    assert waiting(vote("approve"), vote("approve", "p-2"), vote("approve", "p-2", "Ben"), approvals=2) == ["p-1"]
    assert waiting(vote("approve"), vote("approve", "p-2"), vote("propose", "h-1", text="Be kind.")) == ["h-1"]


def test_a_rule_that_is_too_broad_is_not_decided_by_measurement() -> None:
    broad = RULES.principles[0].model_copy(update={"breadth": OverRefusalCheck(n=5, refused=4, because_of_it=4)})
    rules = RULES.model_copy(update={"principles": (broad,)})
    assert list_undecided(rules, count_votes(rules, []), by_measurement=True) == [broad]


def test_a_rule_that_is_not_there_is_no_vote() -> None:
    assert settled(vote("approve", "p-9")) == {p.id: p for p in RULES.principles}


def test_a_journal_of_earlier_times_is_read() -> None:
    event = {"event": "human", "n": 7, "decision": "retire", "fields": {"principle": "p-1", "note": "norms change"}}
    other = {"event": "human", "n": 8, "decision": "rate", "fields": {"item": "x"}}
    (found,) = read_decisions([event, other])
    assert (found.id, found.action, found.person) == ("d1", "retire", "")


ACTIONS: Sequence[RuleAction] = ("approve", "reject", "retire", "edit")
VOTES = st.builds(
    vote,
    st.sampled_from(ACTIONS),
    st.sampled_from(["p-1", "p-2"]),
    st.sampled_from(["Ada", "Ben", "Cy"]),
    text=st.sampled_from(["Open no door.", "Pick no lock."]),
)


@given(st.lists(VOTES, max_size=12), st.integers(1, 3))
def test_nothing_is_settled_by_fewer_people_than_are_asked_for(votes: list[RuleDecision], approvals: int) -> None:
    decided = [rule.id for rule in settled(*votes, approvals=approvals).values() if rule.by == "people"]
    people = {key: len({v.person for v in votes if v.principle == key}) for key in decided}
    assert all(count >= approvals for count in people.values())
