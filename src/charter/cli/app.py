"""Every command, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from charter import __version__
from charter.cli import (
    audit_commands,
    chat_command,
    compare_command,
    constitution_commands,
    curate_command,
    doctor,
    erase_command,
    evaluate_command,
    explain_command,
    export_command,
    feedback_commands,
    init,
    judge_commands,
    organism_commands,
    review_commands,
    run_commands,
    show_commands,
    studio_command,
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
    run_commands.run,
    run_commands.resume,
    run_commands.fork,
    erase_command.erase,
    show_commands.show,
    show_commands.verify,
    compare_command.compare,
    show_commands.report,
    explain_command.explain,
    export_command.export,
    evaluate_command.evaluate,
    curate_command.curate,
    audit_commands.audit,
    audit_commands.battery,
    studio_command.studio,
    chat_command.chat,
    init.init,
    doctor.doctor,
):
    app.command(cls=audit_commands.AuditCommand if command is audit_commands.audit else None)(command)
app.add_typer(organism_commands.app, name="organism")
app.add_typer(constitution_commands.app, name="constitution")
app.add_typer(judge_commands.app, name="judge")
app.add_typer(review_commands.app, name="review")
app.add_typer(feedback_commands.app, name="feedback")
