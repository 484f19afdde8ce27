"""A review of rules decides about them: what raters and adjudicators say become votes, by the door of all votes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from charter.errors import SpecError, StaleError
from charter.jobs.review_desk import ReviewDesk
from charter.jobs.rule_votes import PATIENCE, CastVote, Voter, cast_vote, describe_ballot
from charter.records.record import Record
from charter.records.reviews import ItemSettlement, ReviewLabel
from charter.records.rule_decisions import RuleAction, digest_wording
from charter.records.rules import Principle
from charter.runs.reader import RunReader
from charter.stages.review_board import ReviewBoard

VOTING_ROLES = ("approver", "admin")
"""Roles of the studio that may decide about rules."""
_RULINGS: dict[str, RuleAction] = {"approve": "approve", "reject": "reject"}


class ReviewDecisions(Record):
    """What came of a review of rules: how many votes are new, and how many were taken down before; what has become of
    each rule that a new vote is about; and items that nobody decided yet."""

    added: int
    known: int
    states: dict[str, str]
    open_items: int


@dataclass(frozen=True)
class ReviewedRule:
    """A rule of a review. ``label``: what its review says in the end, None while that is open; ``fresh`` and ``known``:
    how many votes its labels would make, and made before; ``state``: what people decided about the rule, in words."""

    rule: Principle
    label: str | None
    fresh: int
    known: int
    state: str


@dataclass(frozen=True)
class DecisionPreview:
    """What a review of rules would decide now; ``refusal``: why it may not, empty where it may."""

    rules: tuple[ReviewedRule, ...]
    refusal: str

    @property
    def fresh(self) -> int:
        """How many votes would be new."""
        return sum(one.fresh for one in self.rules)


class _Ruling(NamedTuple):
    """What one person said of one rule. ``wording``: digest of what the person was shown."""

    rule: str
    wording: str
    said: ReviewLabel | ItemSettlement

    @property
    def voter(self) -> Voter:
        person = self.said.rater if isinstance(self.said, ReviewLabel) else self.said.by
        return Voter(person, self.said.role)


def decide_rules(
    directory: Path, queue: str, roles: Collection[str] = VOTING_ROLES, patience: float = PATIENCE
) -> ReviewDecisions:
    """Takes down each label on a decided rule as the vote of its rater, and each settlement as that of its adjudicator.

    Who was of another mind comes first and the settlement last, so that a rule ends as its review did wherever that
    many votes settle it. What was taken down before is not taken down again.

    Args:
        directory: The run's folder.
        queue: A queue of rules.
        roles: Labels and settlements that were given as one of these may decide.
        patience: Seconds that each vote waits while another process has the run.

    Raises:
        SpecError: The queue holds no rules, nothing is decided yet, or somebody has another role.
        StaleError: A rule is there no more, or has another wording than the one that its raters were shown.
        StoreError, DamagedError, LockedError: The run cannot be used. A further call goes on from there.
    """
    with ReviewDesk(directory, queue) as desk:
        if desk.queue.kind != "rules":
            cure = f"Draw one: charter review create {directory} --kind rules"
            raise SpecError(f"{queue} holds {desk.queue.kind}, and no rules to decide", cure=cure)
        board = desk.read_board()
        rulings = list(_list_rulings(desk, board))
    if not rulings:
        raise SpecError(
            f"nothing is decided in {queue} yet", cure=f"See how far it is: charter review agree {directory}"
        )
    reading = RunReader(directory)
    fresh = _list_fresh(reading, rulings)
    _require_roles(fresh, roles)
    _require_wordings(reading, fresh)
    states = {}
    for ruling in fresh:
        vote = _cast(directory, ruling, patience)
        states[vote.rule] = vote.state
    open_items = sum(board.find_final(item) is None for item in board.items)
    return ReviewDecisions(added=len(fresh), known=len(rulings) - len(fresh), states=states, open_items=open_items)


def preview_decisions(desk: ReviewDesk, roles: Collection[str] = VOTING_ROLES) -> DecisionPreview:
    """What ``decide_rules`` would do with a queue of rules as it stands; nothing is taken down. Raises StoreError,
    DamagedError."""
    reading, board = RunReader(desk.directory), desk.read_board()
    rulings = list(_list_rulings(desk, board))
    fresh = _list_fresh(reading, rulings)
    made, new = Counter(r.rule for r in rulings), Counter(r.rule for r in fresh)
    ballots, approvals = reading.settlement.ballots, reading.spec.options.ratify.approvals
    rules = []
    for id, item in desk.items.items():
        if item.rule is not None:
            key, final = item.rule.id, board.find_final(id)
            state = describe_ballot(ballots[key], approvals) if key in ballots else "there no more"
            rules.append(ReviewedRule(item.rule, final.label if final else None, new[key], made[key] - new[key], state))
    try:
        _require_roles(fresh, roles)
        _require_wordings(reading, fresh)
    except (SpecError, StaleError) as error:
        return DecisionPreview(tuple(rules), str(error))
    return DecisionPreview(tuple(rules), "")


def _list_fresh(reading: RunReader, rulings: Sequence[_Ruling]) -> list[_Ruling]:
    """Those that no vote was made of yet."""
    known = {decision.label for decision in reading.rule_decisions}
    return [ruling for ruling in rulings if ruling.said.id not in known]


def _list_rulings(desk: ReviewDesk, board: ReviewBoard) -> Iterator[_Ruling]:
    """What was said of each decided rule, in the order in which it is to count. Unsure is no vote."""
    for id, item in desk.items.items():
        final = board.find_final(id)
        if final is None or item.rule is None:
            continue
        labels = [label for label in board.labels[id].values() if label.label is not None]
        said: list[ReviewLabel | ItemSettlement] = [*sorted(labels, key=lambda label: label.label == final.label)]
        said += [board.settled[id]] if id in board.settled else []
        yield from (_Ruling(item.rule.id, digest_wording(item.rule), one) for one in said)


def _require_roles(rulings: list[_Ruling], roles: Collection[str]) -> None:
    faults = [
        f"{r.said.id}: {r.voter.person} has {f'the role {r.said.role}' if r.said.role else 'no role'}"
        for r in rulings
        if r.said.role not in roles
    ]
    if faults:
        cure = f"Name every role that may decide with --role, or let people of these roles review: {', '.join(roles)}."
        raise SpecError("not everybody in this review may decide about rules", tuple(faults), cure)


def _require_wordings(reading: RunReader, rulings: list[_Ruling]) -> None:
    ballots = reading.settlement.ballots
    now = {key: digest_wording(ballot.asked) for key, ballot in ballots.items()}
    if stale := sorted({r.rule for r in rulings if now.get(r.rule) != r.wording}):
        what = f"{', '.join(stale)}: the wording is another one by now than the one that was reviewed"
        raise StaleError(what, f"Review it as it is: charter review create {reading.directory} --kind rules")


def _cast(directory: Path, ruling: _Ruling, patience: float) -> CastVote:
    said = ruling.said
    note = said.comment if isinstance(said, ReviewLabel) else said.note
    fields = {"note": note, "wording": ruling.wording, "label": said.id, "labelled": said.at}
    return cast_vote(directory, _RULINGS[str(said.label)], ruling.rule, ruling.voter, fields, patience)
