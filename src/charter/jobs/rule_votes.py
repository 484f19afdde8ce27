"""People decide about the rules of a run: what they see, their vote in the journal, and what has become of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from charter.constitution import document as articles
from charter.constitution.document import Constitution
from charter.constitution.ratification import RuleBallot, Settlement
from charter.errors import LockedError, SpecError, StaleError, StoreError
from charter.records.record import digest
from charter.records.rule_decisions import RULE_ACTIONS, WORDING_ACTIONS, RuleAction, RuleDecision, digest_wording
from charter.runs import Run, store
from charter.runs.reader import RunReader

PATIENCE = 10.0
"""Seconds that a decision waits while another process has the run."""
LONGEST_VERSION = 40
"""Characters of a version's name."""
_POLL = 0.1


@dataclass(frozen=True)
class Voter:
    """Who decides: a name, and as what."""

    person: str
    role: str = ""


@dataclass(frozen=True)
class CastVote:
    """A vote that was taken down.

    Args:
        rule: The rule that it is about.
        diff: What it changes in the constitution, as its voter is shown; empty where others must agree first.
        state: What has become of the rule, in words.
    """

    rule: str
    diff: str
    state: str


@dataclass(frozen=True)
class LoggedDecision:
    """A decision about a rule, and when it was taken down."""

    at: datetime
    decision: RuleDecision


def cast_vote(
    directory: Path, action: RuleAction, rule: str, voter: Voter, fields: Mapping[str, Any], patience: float = PATIENCE
) -> CastVote:
    """Takes down a decision about a rule; no record is changed.

    Args:
        directory: The run's folder.
        action: What is done.
        rule: The rule's id; empty for a new one, which gets an id.
        voter: Who decides.
        fields: More of the decision: ``note``, ``title``, ``text``, ``merged``; ``label`` and ``labelled`` of a
            review; ``wording``: digest of the wording that the voter was shown, where that is known.
        patience: Seconds to wait while another process has the run.

    Raises:
        StoreError: The run has no such rule.
        SpecError: A rule without a text, a tag without a prompt, or a merge of one rule alone.
        StaleError: The rule has another wording by now than the one that the voter was shown.
        LockedError: Another process keeps the run.
    """
    with _open_patiently(directory, patience) as run:
        reading = RunReader(directory)
        key = rule or f"h-{run.human_count + 1}"
        if rule:
            _require_rules(reading, [rule, *fields.get("merged", ())])
        _require_content(action, rule, fields)
        if rule and fields.get("wording", shown := digest_wording(reading.settlement.ballots[rule].asked)) != shown:
            raise StaleError(f"{rule} was given another wording meanwhile", "Read it as it is now, and decide again.")
        given = {k: v for k, v in fields.items() if v} | {"person": voter.person, "role": voter.role}
        decision = RuleDecision.model_validate({"id": "", "action": action, "principle": key, **given})
        decision = decision.model_copy(update={"wording": _digest_asked(reading.settlement, decision)})
        after = reading.settle(decision)
        changed = reading.constitution.model_copy(update={"principles": after.principles})
        diff = articles.diff(reading.constitution, changed)
        decision = decision.model_copy(update={"diff": digest(diff)})
        kept = decision.model_dump(mode="json", exclude={"id", "action"}, exclude_defaults=True)
        run.record_human_decision(action, **kept)
        return CastVote(key, diff, describe_ballot(after.ballots[key], reading.spec.options.ratify.approvals))


def read_log(reading: RunReader) -> list[LoggedDecision]:
    """Every decision about rules, in order, with when it was taken down."""
    events = [event for event in reading.human_decisions if event["decision"] in RULE_ACTIONS]
    return [
        LoggedDecision(datetime.fromisoformat(event["at"]), decision)
        for event, decision in zip(events, reading.rule_decisions, strict=True)
    ]


@dataclass(frozen=True)
class LoggedRelease:
    """A version that was released: its name and file, the digest of the constitution, who released it, and when."""

    at: datetime
    name: str
    file: str
    digest: str
    person: str


def read_releases(reading: RunReader) -> list[LoggedRelease]:
    """Every version of a run's constitution that was released, in order."""
    told = [(event["at"], event["fields"]) for event in reading.human_decisions if event["decision"] == "release"]
    return [
        LoggedRelease(
            datetime.fromisoformat(at), *(str(said.get(key, "")) for key in ("name", "file", "digest", "person"))
        )
        for at, said in told
    ]


def release_constitution(directory: Path, name: str, out: Path, voter: Voter) -> str:
    """Writes a version of a run's constitution under a name, with what changed since the last one in that folder.

    Args:
        directory: The run's folder.
        name: The version's name, such as ``1.2``.
        out: The folder: it gets ``constitution-NAME.yaml``, and a section on top of ``CHANGELOG.md``.
        voter: Who releases it.

    Returns:
        What changed, as Markdown.

    Raises:
        SpecError: A name that is no file name, or one that was released already.
    """
    path = out / f"constitution-{name}.yaml"
    if len(name) > LONGEST_VERSION or not name.replace(".", "").replace("-", "").replace("_", "").isalnum():
        raise SpecError(f"{name!r} cannot name a version", cure="Use letters, digits, dots and hyphens; 40 at most.")
    if path.exists():
        raise SpecError(f"{path} is there already", cure="Give the version another name.")
    with _open_patiently(directory, PATIENCE) as run:
        reading = RunReader(directory)
        current = reading.constitution
        section = _write_section(name, voter, current, _find_last_release(out), reading)
        log = out / "CHANGELOG.md"
        earlier = log.read_text(encoding="utf-8") if log.exists() else ""
        store.write_atomic(path, articles.to_yaml(current).encode())
        store.write_atomic(log, f"{section}\n{earlier}".encode())
        run.record_human_decision(
            "release", name=name, digest=current.digest, person=voter.person, role=voter.role, file=path.name
        )
    return section


def describe_ballot(ballot: RuleBallot, approvals: int) -> str:
    """What has become of a rule, in words; ``approvals``: how many people of one mind decide."""
    if ballot.settled is not None:
        return ballot.settled.reason
    if not ballot.votes:
        return f"{ballot.rule.status}; nobody voted yet"
    return f"{len(ballot.votes)} voted; {approvals} people of one mind decide"


def _open_patiently(directory: Path, patience: float) -> Run:
    until = time.monotonic() + patience
    while True:
        try:
            return Run.open(directory)
        except LockedError:
            if time.monotonic() > until:
                raise
            time.sleep(_POLL)


def _require_content(action: RuleAction, rule: str, fields: Mapping[str, Any]) -> None:
    """Raises SpecError where a decision says nothing."""
    if action in WORDING_ACTIONS and not str(fields.get("text", "")).strip():
        raise SpecError("a rule without a text", cure="Say what the rule says.")
    if action == "tag" and not str(fields.get("text", "")).strip():
        raise SpecError("a tag without a prompt", cure="Say what audits are to ask.")
    if action == "merge" and not set(fields.get("merged", ())) - {rule}:
        raise SpecError("a merge of one rule alone", cure="Name the other rules that the wording stands for.")


def _require_rules(reading: RunReader, wanted: list[str]) -> None:
    known = [p.id for p in reading.constitution.principles]
    for key in wanted:
        if key not in known:
            raise StoreError(f"{reading.directory} has no rule {key}", f"It has: {', '.join(known) or 'none yet'}")


def _digest_asked(settlement: Settlement, decision: RuleDecision) -> str:
    """The wording that a vote is about; empty for a new rule and for a new wording, which their texts say."""
    if decision.action not in ("approve", "reject", "retire"):
        return ""
    return digest_wording(settlement.ballots[decision.principle].asked)


def _find_last_release(out: Path) -> Constitution | None:
    found = sorted(out.glob("constitution-*.yaml"), key=lambda path: path.stat().st_mtime_ns)
    return articles.read_constitution(found[-1]) if found else None


def _write_section(
    name: str, voter: Voter, current: Constitution, before: Constitution | None, reading: RunReader
) -> str:
    words = articles.diff(before or Constitution(), current)
    stands = f"{len(current.active)} rules in force; released by {voter.person}; SHA-256 {current.digest}."
    lines = [f"## {name}", "", stands, ""]
    lines += ["```diff", words.rstrip("\n"), "```", ""] if words else ["Nothing changed in words.", ""]
    for entry in read_log(reading):
        said, why = entry.decision, entry.decision.note
        what = f"- {entry.at:%Y-%m-%d}: {said.signature} {said.action} {said.principle}"
        lines.append(what + (f": {why}" if why else ""))
    return "\n".join(lines) + "\n"
