"""``charter show``, ``verify`` and ``report``: they read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charter.cli.terminal import AsJson, RunFolder, put, put_json, put_table, say
from charter.errors import StoreError

if TYPE_CHECKING:
    from charter.reports.reading import Reading
    from charter.reports.show import Summary

_ORGANISM = "A model organism: its figures show how the pipeline works and are no evidence about large models."


def show(directory: RunFolder, as_json: AsJson = False) -> None:
    """Show a run in figures, finished or not: scores before and after, rules, decisions, calls."""
    present(directory, quiet=False, as_json=as_json)


def verify(
    directory: RunFolder,
    expect: Annotated[
        str | None,
        typer.Option(metavar="HASH", help="The hash that was printed when the run finished, kept elsewhere."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every byte of a run against its journal, and the journal against a hash kept elsewhere.

    Exits with 3 where anything was changed, removed or added, and names file and line.
    """
    from charter.reports.links import verify_links
    from charter.reports.verify import verify as verified

    steps = verify_links(directory, expect)
    found = {str(directory / name): one for name, one in steps.items()} or {str(directory): verified(directory, expect)}
    if as_json:
        told = {name: one.model_dump(mode="json") for name, one in found.items()}
        put_json(told if steps else told[str(directory)])
    else:
        for name, one in found.items():
            put("\n".join([f"{name}: {one.wording}", *map(str, one.faults), *one.notes]))
            if one.head:
                put(f"HEAD {one.head}")
    if not all(one.ok for one in found.values()):
        raise typer.Exit(StoreError.exit_code)


def put_comparison(directories: Sequence[Path], as_json: bool, markdown: bool = False) -> None:
    """Single runs beside one another, on stdout."""
    from charter.reports import compare as comparing

    comparison = comparing.compare(directories)
    if as_json:
        put_json(comparison.model_dump(mode="json"))
        return
    if markdown:
        put(comparing.markdown(comparison), data=True)
        return
    put_table(comparing.table(comparison), numbers=range(1, len(comparison.runs) + 1))
    if comparison.contests:
        title = (
            "On the same held-out prompts: how often the event happened in one of the two alone; the change in points "
            "with its 95 % interval; exact McNemar p, alone and corrected over the metrics of a pair; the smallest "
            "change that n pairs show four times in five"
        )
        put_table(comparing.contest_rows(comparison), title, numbers=range(2, 9))


def report(
    directory: RunFolder,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The file to write; RUN-report.html beside the run where none is given."),
    ] = None,
    redact: Annotated[
        bool, typer.Option("--redact", help="Hide the texts of models and users, keep their ids.")
    ] = False,
) -> None:
    """Write a run's report: one HTML file that needs no network and runs no script."""
    from charter import store
    from charter.reports.links import links
    from charter.reports.page import page

    if steps := links(directory):
        cure = f"Name one of them: {', '.join(step.name for step in steps)}"
        raise StoreError(f"{directory} is a chain, and each of its steps has a report", cure)
    place = directory.resolve()
    target = (out or place.with_name(f"{place.name}-report.html")).resolve()
    if target.is_relative_to(place):
        raise StoreError(f"{target} is inside the run, whose files are sealed", "Choose a file outside it with --out.")
    store.write_atomic(target, page(directory, redact).encode())
    say(f"{target} is written")


def present(directory: Path, quiet: bool, as_json: bool) -> None:
    """A run's summary: JSON, or tables; nothing where quiet. A chain's steps are compared."""
    from charter.reports.costs import bill
    from charter.reports.links import links
    from charter.reports.reading import Reading
    from charter.reports.show import summarised

    if steps := links(directory):
        if as_json or not quiet:
            _present_chain(directory, steps, as_json)
        return
    reading = Reading(directory)
    if as_json:
        put_json(summarised(reading).model_dump(mode="json"))
    elif not quiet:
        from charter.cli.tables import tables

        summary = summarised(reading)
        state = "finished" if summary.head else "not finished"
        put(f"{summary.run}: {summary.method}{f' on {summary.world}' if summary.world else ''}, {state}")
        if summary.world:
            put(_ORGANISM)
        if not reading.verifiable:
            put("Identity not verifiable: the target was only reached by HTTP; nothing but its name says who answered.")
        _warned(reading)
        _doubts(summary)
        _losses(summary)
        if cost := bill(summary.roles):
            put(cost)
        for title, rows, numbers in tables(reading, summary):
            put_table(rows, title, numbers)
        _ending(directory, reading, summary.head)


def _present_chain(directory: Path, steps: list[Path], as_json: bool) -> None:
    from charter.reports.links import complete

    put_comparison(steps, as_json)
    if not as_json:
        put("Each step is a run of its own; it goes on from the one before: charter show FOLDER")
        put(f"Check it: charter verify {directory}" if complete(directory) else f"Go on: charter resume {directory}")


def _warned(reading: Reading) -> None:
    """Who plays more than one part, or is no model."""
    from charter.reports.show import scripted

    if not reading.outcome.get("independent", True):
        put("Not independent: the evaluator is the same model as another role.")
    if said := scripted(reading):
        put(" ".join(said))


def _doubts(summary: Summary) -> None:
    """What was not judged, and what is not known of the judges."""
    if summary.unjudged:
        put(
            f"{summary.unjudged} unjudged: replies off the menu, never averaged and never trained on; "
            "beside each share stands what they leave open."
        )
    for warning in summary.judging["warnings"]:
        put(f"Warning: {warning}")


def _losses(summary: Summary) -> None:
    """The target, and what it could not answer or learn from."""
    if target := summary.target:
        put(f"Target: {target['model']} on {target['device']} in {target['dtype']}; {target['format']}.")
    if summary.failed:
        reasons = "; ".join(f"{reason}: {count}" for reason, count in summary.failed.items())
        put(f"{sum(summary.failed.values())} answers failed, and count as unjudged. {reasons}.")
    if summary.left_out:
        put(f"{summary.left_out} training rows were too long and left out, none was cut: raise scale.row_tokens.")
    for folder, sifted in summary.curation.items():
        put(f"Curation in {folder}: {sifted['rows']:,} rows came in, {sifted['kept']:,} stay.")
    for missing in dict.fromkeys(sifted["not_covered"] for sifted in summary.curation.values()):
        if missing:
            put(f"Warning: not looked for among the training rows: {missing}")


def _ending(directory: Path, reading: Reading, head: str | None) -> None:
    useless = [p.title or p.id for p in reading.constitution.active if p.efficacy and p.efficacy.judgement == "useless"]
    if useless:
        put(f"Useless rules, measured: {'; '.join(useless)}")
    if stopped := reading.outcome.get("stopped"):
        put(f"It stopped because {stopped}.")
    put(
        f"HEAD {head}\nKeep it: charter verify {directory} --expect HASH"
        if head
        else f"Go on: charter resume {directory}"
    )
