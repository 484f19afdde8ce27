"""The constitution of a run: what its rules say, what caused them, what people decided, and the forms to decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from charter.constitution.ratification import RuleBallot, list_undecided
from charter.errors import SpecError
from charter.jobs.rule_votes import (
    LoggedDecision,
    Voter,
    cast_vote,
    read_log,
    read_releases,
    release_constitution,
)
from charter.records.rule_decisions import RuleAction, digest_wording
from charter.records.rules import Principle
from charter.reports.explanation import explain_item
from charter.runs.reader import RunReader
from charter.studio.page_rendering import make_link, render, require_role, session_of, studio_of
from charter.studio.run_pages import find_directory, find_run, run_contents
from charter.studio.sessions import StudioRole

if TYPE_CHECKING:
    from starlette.requests import Request

ACTIONS: dict[RuleAction, StudioRole] = {
    **dict.fromkeys(("approve", "reject", "retire", "edit", "add", "merge"), "approver"),
    **dict.fromkeys(("propose", "tag"), "reviewer"),
}
"""What can be done to a rule here, each with the least role that may do it."""
PATIENCE = 5.0
"""Seconds that a vote waits while another process has the run."""
RELEASES = "releases"
"""The folder of released versions, beside the runs."""
_NEW, _WORDED = ("propose", "add"), ("propose", "add", "edit", "merge", "tag")
"""What makes a rule, and what says a text."""


@dataclass(frozen=True)
class SettledContradiction:
    """Two rules that were found to contradict one another, as they are now: the one that stood and the one that was
    retired, with the reason; None where a rule is gone."""

    stood: Principle | None
    retired: Principle | None
    version: int
    reason: str


def show_constitution(request: Request) -> Response:
    """The rules with their causes, figures, votes and history, and the forms."""
    session_of(request)
    name, reading = find_run(request)
    ballots, log = reading.settlement.ballots, read_log(reading)
    asked = reading.spec.options.ratify
    waiting = {rule.id for rule in list_undecided(reading.constitution, reading.settlement, by_measurement=False)}
    return render(
        request,
        "constitution.html.j2",
        **run_contents(name, reading),
        constitution=reading.constitution,
        ballots=[(ballot, digest_wording(ballot.asked), _has_new_wording(ballot)) for ballot in ballots.values()],
        waiting=waiting if asked.by != "auto" else {key for key, ballot in ballots.items() if ballot.is_open},
        approvals=asked.approvals,
        decided_by=asked.by,
        amendments=reading.amendments,
        contradictions=_list_contradictions(reading),
        log=log,
        prompts=_list_test_prompts(log),
        releases=read_releases(reading),
        folder=RELEASES,
        done=next((e for e in reversed(log) if e.decision.principle == request.query_params.get("done")), None),
    )


def show_rule(request: Request) -> Response:
    """A rule down to the failing answers that caused it, and what was made of them."""
    session_of(request)
    name, reading = find_run(request)
    rule, ballots = request.path_params["rule"], reading.settlement.ballots
    if rule not in ballots:
        raise HTTPException(404, "The run has no such rule.")
    found = explain_item(reading.directory, "principle", rule)
    log = [entry for entry in read_log(reading) if entry.decision.principle == rule]
    return render(
        request,
        "rule.html.j2",
        **run_contents(name, reading),
        rule=rule,
        mine=ballots[rule],
        wording=digest_wording(ballots[rule].asked),
        ballots=ballots,
        found=found,
        log=log,
    )


def take_vote(request: Request) -> Response:
    """Takes down a decision about a rule, in the name of whoever is here; no record is changed."""
    form: dict[str, str] = request.state.form
    action = form.get("action", "")
    if action not in ACTIONS:
        known = ", ".join(name for name in get_args(RuleAction) if name in ACTIONS)
        raise SpecError(f"{action!r} is nothing that can be done to a rule", cure=f"Choose one of: {known}.")
    chosen = next(name for name in ACTIONS if name == action)
    session = require_role(request, ACTIONS[chosen])
    directory = find_directory(request)
    rule = "" if chosen in _NEW else form.get("rule", "")
    if not rule and chosen not in _NEW:
        raise SpecError("no rule is named", cure="Use the form beside a rule.")
    names = ("note", "title", "text") if chosen in _WORDED else ("note",)
    fields: dict[str, Any] = {key: form.get(key, "").replace("\r\n", "\n").strip() for key in names}
    if chosen == "merge":
        fields["merged"] = tuple(name.removeprefix("merge ") for name in form if name.startswith("merge "))
    if rule:
        fields["wording"] = form.get("wording", "")
    vote = cast_vote(directory, chosen, rule, Voter(session.person, session.role), fields, PATIENCE)
    target = make_link("runs", request.path_params["run"], "constitution", done=vote.rule)
    return RedirectResponse(f"{target}#rule-{vote.rule}", 303)


def release_version(request: Request) -> Response:
    """Writes the constitution under a version's name into the folder of releases."""
    session = require_role(request, "approver")
    directory, root = find_directory(request), studio_of(request).shelf.root
    if directory == root:
        raise SpecError("the studio serves one run alone", cure="Serve the folder above it, where releases can lie.")
    name = request.state.form.get("name", "").strip()
    release_constitution(directory, name, root / RELEASES, Voter(session.person, session.role))
    return RedirectResponse(make_link("runs", request.path_params["run"], "constitution") + "#releases", 303)


def _list_contradictions(reading: RunReader) -> list[SettledContradiction]:
    """Pairs of rules of which the loop retired one because they contradict, the last ones first."""
    rules = {rule.id: rule for rule in reading.constitution.principles}
    return [
        SettledContradiction(rules.get(change.principles[1]), rules.get(change.principles[0]), version, change.reason)
        for version, change in reversed(reading.amendments)
        if change.action == "retired" and change.by == "proposer" and len(change.principles) == 2
    ]


def _list_test_prompts(log: Sequence[LoggedDecision]) -> dict[str, list[str]]:
    """By rule the prompts that people gave it for audits."""
    found: dict[str, list[str]] = {}
    for entry in log:
        if entry.decision.action == "tag":
            found.setdefault(entry.decision.principle, []).append(entry.decision.text)
    return found


def _has_new_wording(ballot: RuleBallot) -> bool:
    return (ballot.asked.title, ballot.asked.text) != (ballot.rule.title, ballot.rule.text)
