"""What people do about rules: ``charter constitution approve`` and its neighbours. Each adds a line to the journal."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charter.cli.terminal import print_message, print_out, print_table

if TYPE_CHECKING:
    from charter.records.rule_decisions import RuleAction

RunOf = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)]
RuleId = Annotated[
    str, typer.Argument(metavar="PRINCIPLE", help="A rule's id, as `show` prints it.", show_default=False)
]
Note = Annotated[str, typer.Option(metavar="TEXT", help="Why; kept with the decision.")]
Person = Annotated[
    str, typer.Option("--by", metavar="NAME", help="Who decides; the name you are logged in with where none is given.")
]
Role = Annotated[str, typer.Option(metavar="ROLE", help="As what, e.g. `policy lead`.")]
Wording = Annotated[str, typer.Argument(metavar="TEXT", help="What the rule says.", show_default=False)]
Title = Annotated[str, typer.Option(metavar="TITLE", help="Its title.")]


def approve(directory: RunOf, principle: RuleId, person: Person = "", role: Role = "", note: Note = "") -> None:
    """Vote for a rule's wording: the vote is added to the run's journal; no record is changed."""
    _decide(directory, "approve", principle, person, role, note=note)


def reject(directory: RunOf, principle: RuleId, person: Person = "", role: Role = "", note: Note = "") -> None:
    """Vote against a rule: the vote is added to the run's journal; no record is changed."""
    _decide(directory, "reject", principle, person, role, note=note)


def retire(directory: RunOf, principle: RuleId, person: Person = "", role: Role = "", note: Note = "") -> None:
    """Retire a rule: norms change. It is followed in a run that goes on from this one: `charter fork`."""
    _decide(directory, "retire", principle, person, role, note=note)


def add(
    directory: RunOf, text: Wording, title: Title = "", person: Person = "", role: Role = "", note: Note = ""
) -> None:
    """Add a rule, with a vote for it. Once it has its votes it is followed: in this run if rules wait for people there,
    else in a run that goes on from it."""
    _decide(directory, "add", "", person, role, text=text, title=title, note=note)


def propose(
    directory: RunOf, text: Wording, title: Title = "", person: Person = "", role: Role = "", note: Note = ""
) -> None:
    """Propose a rule without a vote: others decide."""
    _decide(directory, "propose", "", person, role, text=text, title=title, note=note)


def edit(
    directory: RunOf,
    principle: RuleId,
    text: Wording,
    title: Title = "",
    person: Person = "",
    role: Role = "",
    note: Note = "",
) -> None:
    """Give a rule another wording, with a vote for it. Votes on the old wording do not count for the new one."""
    _decide(directory, "edit", principle, person, role, text=text, title=title, note=note)


def merge(
    directory: RunOf,
    principle: RuleId,
    others: Annotated[list[str], typer.Argument(metavar="OTHER...", help="The rules that it stands for, too.")],
    text: Annotated[str, typer.Option(metavar="TEXT", help="The wording that covers all of them.")],
    title: Title = "",
    person: Person = "",
    role: Role = "",
    note: Note = "",
) -> None:
    """Let one wording stand for several rules, with a vote for it. Once it has its votes the others are retired, and
    their causes are the rule's."""
    _decide(directory, "merge", principle, person, role, text=text, title=title, note=note, merged=tuple(others))


def tag(directory: RunOf, principle: RuleId, prompt: Wording, person: Person = "", role: Role = "") -> None:
    """Give a rule a prompt that audits try it with."""
    _decide(directory, "tag", principle, person, role, text=prompt)


def log(directory: RunOf) -> None:
    """Print every decision about rules: when, who, as what, and why."""
    from charter.jobs.rule_votes import read_log
    from charter.runs.reader import RunReader

    rows = [("when", "who", "what", "rule", "why", "saw")]
    for entry in read_log(RunReader(directory)):
        said = entry.decision
        what = " ".join((said.action, *said.merged))
        why = " · ".join(filter(None, (said.note, said.text, said.label and f"review {said.label}")))
        rows.append((f"{entry.at:%Y-%m-%d %H:%M}", said.signature, what, said.principle, why, said.diff[:12]))
    print_table(rows) if rows[1:] else print_out("No decision yet.")


def blame(directory: RunOf, principle: RuleId) -> None:
    """Print why a rule exists: each failing answer that caused it, who decided about it, and what it mended."""
    from charter.reports.explanation import explain_item
    from charter.runs.reader import RunReader

    found = explain_item(directory, "principle", principle)
    for rule in found.rules:
        print_out(f"{rule.id} [{rule.status}, by {rule.by}] {rule.title}\n  {rule.text}")
    for decision in RunReader(directory).rule_decisions:
        if decision.principle == principle:
            print_out(f"  {decision.action} by {decision.signature}" + (f": {decision.note}" if decision.note else ""))
    for failure in (failure for run in found.runs for failure in run.failures):
        print_out(f"\n{failure.folder} {failure.id} ({failure.verdict})\n  asked: {failure.prompt}")
        became = failure.row + (f" ({', '.join(failure.dropped)})" if failure.dropped else "")
        print_out(f"  answered: {failure.answer}\n  became: {became}")


def release(
    directory: RunOf,
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="The version's name, e.g. 1.2.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder of releases.")] = Path("releases"),
    person: Person = "",
    role: Role = "",
) -> None:
    """Write the constitution under a version's name, with what changed since the last one and who decided it."""
    from charter.jobs.rule_votes import Voter, release_constitution

    print_out(release_constitution(directory, name, out, Voter(person or getpass.getuser(), role)))
    print_message(f"{out / f'constitution-{name}.yaml'}: written, with a section of {out / 'CHANGELOG.md'}")


def register_commands(app: typer.Typer) -> None:
    """Adds these commands to those of ``charter constitution``."""
    for command in (approve, reject, retire, add, propose, edit, merge, tag, log, blame, release):
        app.command()(command)


def _decide(directory: Path, action: RuleAction, principle: str, person: str, role: str, **fields: Any) -> None:
    from charter.jobs.rule_votes import Voter, cast_vote
    from charter.runs import store

    vote = cast_vote(directory, action, principle, Voter(person or getpass.getuser(), role), fields)
    if vote.diff:
        print_out(vote.diff)
    print_message(f"{action} {vote.rule}: taken down in {directory / store.JOURNAL}; {vote.state}")
