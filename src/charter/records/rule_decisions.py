"""What people decided about rules, as the journal of a run has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError

from charter.errors import DamagedError
from charter.records.record import Record, digest
from charter.records.rules import Principle

RuleAction = Literal["approve", "reject", "retire", "add", "propose", "edit", "merge", "tag"]
RULE_ACTIONS: tuple[RuleAction, ...] = get_args(RuleAction)
WORDING_ACTIONS: tuple[RuleAction, ...] = ("add", "propose", "edit", "merge")


class RuleDecision(Record):
    """One decision of one person.

    Args:
        id: ``d`` and its number among the decisions of the run.
        action: What the person did.
        principle: The rule that it is about.
        person: Who; two decisions under one name are of one person.
        role: As what, in the person's own words.
        note: Why.
        title: Of ``add``, ``propose``, ``edit`` and ``merge``: the new title.
        text: Of these: the new wording; of ``tag`` the prompt.
        merged: Of ``merge``: the rules that the new wording stands for, too.
        wording: Digest of the wording that it is about.
        diff: Digest of the difference that the person was shown.
        label: Of a vote that was given in a review: the id of the label, whose line says more.
        labelled: When that label was given, ISO 8601.
    """

    id: str
    action: RuleAction
    principle: str
    person: str = ""
    role: str = ""
    note: str = ""
    title: str = ""
    text: str = ""
    merged: tuple[str, ...] = ()
    wording: str = ""
    diff: str = ""
    label: str = Field("", exclude_if=lambda label: not label)
    labelled: str = Field("", exclude_if=lambda labelled: not labelled)

    @property
    def signature(self) -> str:
        """Who and as what, for a page."""
        return (self.person or "someone") + (f" ({self.role})" if self.role else "")


def read_decisions(events: Iterable[Mapping[str, Any]]) -> tuple[RuleDecision, ...]:
    """The decisions about rules among a journal's events, in order. Raises DamagedError where a line is none."""
    found = list[RuleDecision]()
    for event in events:
        if event["event"] != "human" or event["decision"] not in RULE_ACTIONS:
            continue
        known = {key: value for key, value in event["fields"].items() if key in RuleDecision.model_fields}
        known |= {"id": f"d{len(found) + 1}", "action": event["decision"]}
        try:
            found.append(RuleDecision.model_validate(known))
        except ValidationError as error:
            cure = "Restore the run from a copy."
            raise DamagedError(f"the journal, line {event['n']}: not a decision about a rule", cure) from error
    return tuple(found)


def digest_wording(rule: Principle) -> str:
    """SHA-256 of a rule's title and text."""
    return digest([rule.title, rule.text])
