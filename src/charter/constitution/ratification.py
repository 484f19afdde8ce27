"""Rules become those of people: votes on a wording are counted, and what has enough of them is settled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from charter.constitution.document import Constitution
from charter.records.rule_decisions import RuleDecision, digest_wording
from charter.records.rules import Amendment, Principle, PrincipleStatus

_STATUSES: dict[str, PrincipleStatus] = {"approve": "approved", "reject": "rejected", "retire": "retired"}
_SIDES = {"add": "approve", "edit": "approve", "merge": "approve"}
AmendmentAction = Literal["approved", "rejected", "retired", "reworded", "added", "merged"]


@dataclass
class RuleBallot:
    """A rule before people: ``asked`` is the wording that is voted on, ``votes`` the last vote of each person on it.

    ``given`` is the rule before anybody voted (None: a person's new rule). ``settled`` is what was decided last.
    ``merged`` are the rules that the wording asked about stands for, too.
    """

    given: Principle | None
    rule: Principle
    asked: Principle
    votes: dict[str, RuleDecision] = field(default_factory=dict)
    settled: Amendment | None = None
    merged: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether somebody voted or proposed, and it is not settled."""
        return (bool(self.votes) or self.given is None) and self.settled is None


@dataclass(frozen=True)
class Settlement:
    """Where the votes stand.

    Args:
        ballots: Every rule, by id, in order.
    """

    ballots: dict[str, RuleBallot]

    @property
    def principles(self) -> tuple[Principle, ...]:
        """The rules as they are now."""
        return tuple(ballot.rule for ballot in self.ballots.values())

    @property
    def amendments(self) -> tuple[Amendment, ...]:
        """What people changed, with who and why."""
        changed = (ballot for ballot in self.ballots.values() if ballot.rule != ballot.given)
        return tuple(ballot.settled for ballot in changed if ballot.settled is not None)


def count_votes(constitution: Constitution, decisions: Sequence[RuleDecision], approvals: int = 1) -> Settlement:
    """The rules with what people decided about them.

    A vote counts for the wording that it was given on; a new wording begins anew, with its author's vote. Each person
    has one vote, the last one. A rule is settled as soon as ``approvals`` different people are of one mind; votes of
    another mind stay in the reason. A rule that does not exist is not voted on.
    """
    ballots = {p.id: RuleBallot(p, p, p) for p in constitution.principles}
    for decision in decisions:
        if decision.action in ("add", "propose") and decision.principle not in ballots:
            new = Principle(id=decision.principle, title=decision.title, text=decision.text, by="people")
            ballots[new.id] = RuleBallot(None, new, new)
        ballot = ballots.get(decision.principle)
        if ballot is not None and decision.action not in ("propose", "tag"):
            _cast_vote(ballots, ballot, decision, approvals)
    return Settlement(ballots)


def _cast_vote(ballots: dict[str, RuleBallot], ballot: RuleBallot, decision: RuleDecision, approvals: int) -> None:
    if decision.action in ("edit", "merge"):
        new = {"title": decision.title or ballot.asked.title, "text": decision.text or ballot.asked.text}
        ballot.asked, ballot.merged = ballot.rule.model_copy(update=new), decision.merged
        ballot.votes.clear()
    elif decision.wording and decision.wording != digest_wording(ballot.asked):
        return
    ballot.votes[decision.person], ballot.settled = decision, None
    side = _SIDES.get(decision.action, decision.action)
    if sum(_SIDES.get(vote.action, vote.action) == side for vote in ballot.votes.values()) >= approvals:
        _settle(ballots, ballot, side)


def _settle(ballots: dict[str, RuleBallot], ballot: RuleBallot, side: str) -> None:
    """The rule as it was decided. Measured figures are those of a wording, and go with it."""
    was, wording = ballot.rule, ballot.asked if side == "approve" else ballot.rule
    reworded = (was.title, was.text) != (wording.title, wording.text)
    unmeasured = {"efficacy": None, "breadth": None} if reworded else {}
    ballot.rule = wording.model_copy(update={"status": _STATUSES[side], "by": "people", **unmeasured})
    merged = ballot.merged if side == "approve" else ()
    ballot.settled = _amendment(ballot, was, side, reworded, merged)
    ballot.asked, ballot.merged = ballot.rule, ()
    for other in (ballots[key] for key in merged if key in ballots and key != was.id):
        other.rule = other.rule.model_copy(update={"status": "retired", "by": "people"})
        other.asked = other.rule
        causes, clusters = {**dict.fromkeys(ballot.rule.because)}, {**dict.fromkeys(ballot.rule.clusters)}
        ballot.rule = ballot.rule.model_copy(
            update={
                "because": tuple(causes | dict.fromkeys(other.rule.because)),
                "clusters": tuple(clusters | dict.fromkeys(other.rule.clusters)),
            }
        )


def _amendment(ballot: RuleBallot, was: Principle, side: str, reworded: bool, merged: tuple[str, ...]) -> Amendment:
    action: AmendmentAction
    if side != "approve":
        action = "rejected" if side == "reject" else "retired"
    elif ballot.given is None and was.status == "proposed":
        action = "added"
    else:
        action = "merged" if merged else "reworded" if reworded else "approved"
    same = [v for v in ballot.votes.values() if _SIDES.get(v.action, v.action) == side]
    others = [v for v in ballot.votes.values() if v not in same]
    reason = f"{_STATUSES[side]} by {_name_voters(same)}" + (f"; against: {_name_voters(others)}" if others else "")
    wording = {"before": was.text, "after": ballot.rule.text} if reworded else {}
    key = f"{action}/{was.id}"
    return Amendment(id=key, action=action, principles=(was.id, *merged), reason=reason, by="people", **wording)


def _name_voters(votes: Sequence[RuleDecision]) -> str:
    return ", ".join(vote.signature + (f": {vote.note}" if vote.note else "") for vote in votes)


def list_undecided(constitution: Constitution, settlement: Settlement, *, by_measurement: bool) -> list[Principle]:
    """The wordings that wait for people: what is being voted on, and the proposer's rules in force that nobody decided.

    Args:
        constitution: The rules before people decided.
        settlement: Where the votes stand.
        by_measurement: Whether a rule that is measured useful, and not too broad, needs nobody.
    """
    known = {p.id for p in constitution.active if p.by != "people"}
    if by_measurement:
        known -= {p.id for p in constitution.active if _is_proved(p)}
    return [
        ballot.asked
        for key, ballot in settlement.ballots.items()
        if ballot.is_open or (key in known and ballot.settled is None)
    ]


def _is_proved(rule: Principle) -> bool:
    useful = rule.efficacy is not None and rule.efficacy.judgement == "useful"
    return useful and not (rule.breadth is not None and rule.breadth.too_broad)
