"""``charter export``: a finished run's policy, its transcripts and its scores, for others to use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from charter.cli.terminal import AsJson, RunFolder, print_json, print_message


def export(
    directory: RunFolder,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the policy with its card into this new folder.")
    ] = None,
    merge: Annotated[
        bool,
        typer.Option("--merge", help="With --out: one model with its tokenizer, the adapter merged in."),
    ] = False,
    check: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="With --merge: compare it with base + adapter on N held-out prompts."),
    ] = 16,
    inspect: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write every transcript into this new folder, as logs of Inspect AI."),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every score into this new file, as CSV.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write out what a run made: the policy with a model card, transcripts for `inspect view`, scores as CSV.

    The card holds the constitution, the scores before and after, the data with their licences, the base model and the
    run's HEAD. A policy needs a finished run, transcripts and scores do not. Nothing is overwritten.
    """
    from charter import jobs

    if out is None and inspect is None and csv is None:
        raise typer.BadParameter("give at least one of --out, --inspect and --csv")
    told: dict[str, Any] = {}
    if out is not None:
        exported = jobs.export_policy(directory, out, merge, check)
        told |= {"out": str(out), **exported.model_dump(mode="json")}
        if not as_json:
            kind = "merged model" if exported.kind == "merged" else exported.kind
            print_message(f"{out} holds the {kind} and its card, README.md")
        if exported.alike and not as_json:
            print_message(exported.alike)
    if inspect is not None:
        told |= {"inspect": str(inspect), "logs": jobs.write_inspect(directory, inspect)}
        if not as_json:
            print_message(f"{inspect} holds {told['logs']} logs: inspect view --log-dir {inspect}")
    if csv is not None:
        told |= {"csv": str(csv), "scores": jobs.write_csv(directory, csv)}
        if not as_json:
            print_message(f"{csv} holds {told['scores']} scores")
    if as_json:
        print_json(told)
