"""The constitution of a run: what its rules say, what caused them, what people decided, and the forms to decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from charter.constitution.ratification import RuleBallot, list_undecided
from charter.errors import SpecError
from charter.jobs.rule_votes import Voter, cast_vote, read_log
from charter.records.rule_decisions import RuleAction, digest_wording
from charter.reports.explanation import explain_item
from charter.studio.page_rendering import make_link, render, require_role, session_of
from charter.studio.run_pages import find_directory, find_run, run_contents
from charter.studio.sessions import StudioRole

if TYPE_CHECKING:
    from starlette.requests import Request

ACTIONS: dict[RuleAction, StudioRole] = {
    **dict.fromkeys(("approve", "reject", "retire", "edit", "add"), "approver"),
    "propose": "reviewer",
}
"""What can be done to a rule here, each with the least role that may do it."""
PATIENCE = 5.0
"""Seconds that a vote waits while another process has the run."""


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
        log=log,
        done=next((e for e in reversed(log) if e.decision.principle == request.query_params.get("done")), None),
    )


def show_rule(request: Request) -> Response:
    """A rule down to the failing answers that caused it, and what was made of them."""
    session_of(request)
    name, reading = find_run(request)
    rule = request.path_params["rule"]
    if rule not in reading.settlement.ballots:
        raise HTTPException(404, "The run has no such rule.")
    found = explain_item(reading.directory, "principle", rule)
    log = [entry for entry in read_log(reading) if entry.decision.principle == rule]
    return render(request, "rule.html.j2", **run_contents(name, reading), rule=rule, found=found, log=log)


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
    rule = "" if chosen in ("propose", "add") else form.get("rule", "")
    if not rule and chosen not in ("propose", "add"):
        raise SpecError("no rule is named", cure="Use the form beside a rule.")
    fields = {key: form.get(key, "").replace("\r\n", "\n").strip() for key in ("note", "title", "text")}
    if chosen not in ("propose", "add", "edit"):
        fields = {"note": fields["note"]}
    if rule:
        fields["wording"] = form.get("wording", "")
    vote = cast_vote(directory, chosen, rule, Voter(session.person, session.role), fields, PATIENCE)
    target = make_link("runs", request.path_params["run"], "constitution", done=vote.rule)
    return RedirectResponse(f"{target}#rule-{vote.rule}", 303)


def _has_new_wording(ballot: RuleBallot) -> bool:
    return (ballot.asked.title, ballot.asked.text) != (ballot.rule.title, ballot.rule.text)
