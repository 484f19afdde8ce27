"""Every command, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from charter import __version__
from charter.cli import (
    auditing,
    comparing,
    constitution,
    curating,
    doctor,
    evaluating,
    explaining,
    exporting,
    init,
    judge,
    organism,
    running,
    showing,
)

app = typer.Typer(
    name="charter",
    help="Aligns language models with a constitution that grows from their own failures, and measures what that did.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Begin with `charter run iteralign --out runs/first`, or with `charter init` for a model of your own.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"charter {__version__}")
        raise typer.Exit


@app.callback()
def charter(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Aligns language models with a constitution that grows from their own failures, and measures what that did."""
    del version


for command in (
    running.run,
    running.resume,
    running.fork,
    showing.show,
    showing.verify,
    comparing.compare,
    showing.report,
    explaining.explain,
    exporting.export,
    evaluating.evaluate,
    curating.curate,
    auditing.audit,
    auditing.battery,
    init.init,
    doctor.doctor,
):
    app.command(cls=auditing.AuditCommand if command is auditing.audit else None)(command)
app.add_typer(organism.app, name="organism")
app.add_typer(constitution.app, name="constitution")
app.add_typer(judge.app, name="judge")
