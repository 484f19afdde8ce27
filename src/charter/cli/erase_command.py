"""``charter erase``: what was made of a person's row, and the row taken back."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from charter.cli.feedback_commands import StorePlace
from charter.cli.terminal import AsJson, RunFolder, print_json, print_out
from charter.errors import SpecError

if TYPE_CHECKING:
    from charter.jobs.erasure import RowTrace

MADE_OF = {
    "prompts": "prompts asked",
    "findings": "failures",
    "rules": "rules",
    "rows": "training rows",
    "pairs": "pairs learnt",
    "checks": "pairs that measured",
    "ratings": "answers learnt as good or bad",
    "checkpoints": "checkpoints",
    "scores": "scores",
}


def erase(
    directory: RunFolder,
    row: Annotated[str, typer.Option(metavar="ID", help="The row of feedback.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Erase it; without this nothing is changed.")] = False,
    store: StorePlace = "",
    no_store: Annotated[bool, typer.Option("--no-store", help="The row came from a file: no store has it.")] = False,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who erases; who is logged in, if not given.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show what was made of a person's row of feedback: failures, rules, training rows, checkpoints, scores.

    With --yes its words leave the store, and a tombstone goes into the run's journal. The records of a run are sealed
    and keep what was made of the row: a fork without it trains anew, and then the old run can be deleted.
    """
    from charter.jobs.erasure import erase_row, trace_row

    traces = trace_row(directory, row)
    if yes and not (store or no_store):
        raise SpecError("no store is named", cure="Give --store, or --no-store where the row came from a file.")
    had_it = erase_row(traces, "" if no_store else store, by or getpass.getuser()) if yes else False
    traces = trace_row(directory, row) if yes else traces
    if as_json:
        found = [{"run": str(one.run), "erased": one.erased, **one.effect.model_dump(mode="json")} for one in traces]
        print_json({"row": row, "taken from the store": had_it, "runs": found})
        return
    _print_traces(traces)
    if yes:
        print_out(f"{row} was taken from the store." if had_it else f"No store was changed: none had {row} by now.")
    oldest = traces[-1].run
    print_out("The files of these runs keep what was made of it. To train without the row, and delete them then:")
    print_out(f"  charter fork {oldest} NEW --without-row {row} && charter resume NEW")
    if not yes:
        print_out("Nothing was changed. To erase the row: the same command with --yes")


def _print_traces(traces: Sequence[RowTrace]) -> None:
    for trace in traces:
        print_out(f"{trace.run}: {trace.effect.kind}{f', erased {trace.erased}' if trace.erased else ''}")
        for name, words in MADE_OF.items():
            ids = getattr(trace.effect, name)
            print_out(f"  {words}: {', '.join(ids) or 'none'}")
