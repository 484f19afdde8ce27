"""``charter constitution``: read, compare, and decide about rules."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charter.cli.decision_commands import RunOf, register_commands
from charter.cli.terminal import print_message, print_out, print_table
from charter.errors import SpecError

if TYPE_CHECKING:
    from charter.constitution.document import Constitution

app = typer.Typer(no_args_is_help=True, help="Read and compare constitutions, and decide about their rules.")

ConstitutionSource = Annotated[
    Path, typer.Argument(metavar="SOURCE", help="A run's folder, or a constitution file.", show_default=False)
]


class ConstitutionFormat(StrEnum):
    """How a constitution is printed."""

    markdown = "markdown"
    yaml = "yaml"
    json = "json"


@app.command()
def show(
    source: ConstitutionSource,
    form: Annotated[
        ConstitutionFormat, typer.Option("--as", metavar="FORM", help="markdown, yaml or json.")
    ] = ConstitutionFormat.markdown,
) -> None:
    """Print a constitution: each rule with its status, causes and measured efficacy."""
    from charter.constitution import document as articles

    found = _read_constitution(source)
    if form is ConstitutionFormat.json:
        print_out(found.model_dump_json(indent=2), data=True)
    else:
        print_out(
            articles.to_yaml(found) if form is ConstitutionFormat.yaml else articles.to_markdown(found), data=True
        )


@app.command("import")
def import_(
    document: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A document with headings, rules in another's shape, or a folder that Polis exported."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The constitution to be written.", show_default=False)],
) -> None:
    """Make a constitution of a document: each section becomes a rule with its title, scope and level of authority.

    Commentary, examples and notes are left out. Rules in another's shape (pairs of critique and revision, traits) are
    written anew in ours. A comment of a Polis export is in force where a majority of every group agrees with it; the
    others are proposed, with their support by group."""
    from charter.constitution import document as articles

    if out.exists():
        raise SpecError(f"{out} is there already", cure="Name another file with --out.")
    found = articles.read_document(document)
    out.write_text(articles.to_yaml(found), encoding="utf-8")
    for p in found.principles:
        level = f" [{p.authority}]" if p.authority else ""
        print_out(f"{p.id}{level} {p.status}: {f'{p.scope} > ' if p.scope else ''}{p.title}")
    print_message(f"{out}: {len(found.active)} rules in force, {len(found.principles) - len(found.active)} proposed")


@app.command()
def diff(before: ConstitutionSource, after: ConstitutionSource) -> None:
    """Print what one constitution says differently from another; nothing where they say the same."""
    from charter.constitution import document as articles

    if words := articles.diff(_read_constitution(before), _read_constitution(after)):
        print_out(words)


@app.command()
def history(directory: RunOf) -> None:
    """Print every change of a run's constitution with its reason: added, merged, reworded, retired."""
    from charter.runs.reader import RunReader

    rows = [("version", "change", "rules", "reason", "by")]
    for version, change in RunReader(directory).amendments:
        reason = f"{change.reason}: {change.after}" if change.after else change.reason
        rows.append((str(version), change.action, " ".join(change.principles), reason, change.by))
    print_table(rows, numbers=range(1)) if rows[1:] else print_out("No change yet.")


register_commands(app)


def _read_constitution(source: Path) -> Constitution:
    """A run's constitution with what people decided since, or a file's."""
    if source.is_dir():
        from charter.runs.reader import RunReader

        return RunReader(source).constitution
    from charter.constitution.document import read_constitution

    return read_constitution(source)
