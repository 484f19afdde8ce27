"""``charter show``, ``verify`` and ``report``: they read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charter.cli.terminal import AsJson, RunFolder, print_json, print_message, print_out, print_table, watch_progress
from charter.errors import StoreError

if TYPE_CHECKING:
    from charter.reports.run_summary import RunSummary
    from charter.runs.reader import RunReader

_ORGANISM_NOTE = "A model organism: its figures show how the pipeline works and are no evidence about large models."


def show(
    directory: RunFolder,
    step: Annotated[
        str, typer.Option(metavar="STEP", help="Show records of this step instead, such as 001/exchanges.")
    ] = "",
    page: Annotated[int, typer.Option(metavar="N", min=1, help="Which 20 records of the step.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Show a run in figures, finished or not: scores before and after, rules, decisions, calls.

    With --step it shows records of a step, one a line, and reads no more of the step than them.
    """
    if step:
        _print_records(directory, step, page, as_json)
    else:
        print_summary(directory, quiet=False, as_json=as_json)


def _print_records(directory: Path, step: str, page: int, as_json: bool) -> None:
    from charter.reports.record_pages import read_page
    from charter.runs.reader import RunReader

    found = read_page(RunReader(directory), step, page)
    if as_json:
        print_json({"step": step, "first": found.first, "count": found.total, "records": found.lines})
        return
    for line in found.lines:
        print_out(line, data=True)
    last = found.first + len(found.lines) - 1
    print_message(f"{step}: records {found.first} to {last} of {found.total:,}")


def verify(
    directory: RunFolder,
    expect: Annotated[
        str | None,
        typer.Option(metavar="HASH", help="The hash that was printed when the run finished, kept elsewhere."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="A file that belongs to no step is an error; otherwise it is only listed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check every byte of a run against its journal, and the journal against a hash kept elsewhere.

    Exits with 3 where anything was changed, removed or added, and names file and line. Links and special files are
    errors. Files that belong to no step are listed.
    """
    from charter.reports.chain import verify_chain
    from charter.reports.integrity import verify_run as verified

    with watch_progress(as_json) as observer:
        steps = verify_chain(directory, expect, strict, observer)
        found = {str(directory / name): one for name, one in steps.items()}
        found = found or {str(directory): verified(directory, expect, strict, observer)}
    if as_json:
        told = {name: one.model_dump(mode="json") for name, one in found.items()}
        print_json(told if steps else told[str(directory)])
    else:
        for name, one in found.items():
            foreign = [] if strict else [f"{file}: belongs to no step" for file in one.foreign]
            print_out("\n".join([f"{name}: {one.wording}", *map(str, one.faults), *one.notes, *foreign]))
            if one.head:
                print_out(f"HEAD {one.head}")
            for row, at in one.erased.items():
                print_out(f"feedback {row}: erased {at}; what was made of it stays in this run (charter erase)")
            for queue, tip in one.reviews.items():
                print_out(f"review {queue}: last line {tip}")
    if not all(one.ok for one in found.values()):
        raise typer.Exit(StoreError.exit_code)


def print_comparison(directories: Sequence[Path], as_json: bool, markdown: bool = False) -> None:
    """Single runs beside one another, on stdout."""
    from charter.reports import run_comparison as comparing

    comparison = comparing.compare_runs(directories)
    if as_json:
        print_json(comparison.model_dump(mode="json"))
        return
    if markdown:
        print_out(comparing.comparison_markdown(comparison), data=True)
        return
    print_table(comparing.comparison_rows(comparison), numbers=range(1, len(comparison.runs) + 1))
    if comparison.contests:
        title = (
            "On the same held-out prompts: how often the event happened in one of the two alone; the change in points "
            "with its 95 % interval; exact McNemar p, alone and corrected over the metrics of a pair; the smallest "
            "change that n pairs show four times in five where as many change the other way as here"
        )
        print_table(comparing.contest_rows(comparison), title, numbers=range(2, 9))


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
    from charter.reports.chain import chain_runs
    from charter.reports.page import render_page
    from charter.runs import store

    if steps := chain_runs(directory):
        cure = f"Name one of them: {', '.join(step.name for step in steps)}"
        raise StoreError(f"{directory} is a chain, and each of its steps has a report", cure)
    place = directory.resolve()
    target = (out or place.with_name(f"{place.name}-report.html")).resolve()
    if target.is_relative_to(place):
        raise StoreError(f"{target} is inside the run, whose files are sealed", "Choose a file outside it with --out.")
    store.write_atomic(target, render_page(directory, redact).encode())
    print_message(f"{target} is written")


def print_summary(directory: Path, quiet: bool, as_json: bool) -> None:
    """A run's summary: JSON, or tables; nothing where quiet. A chain's steps are compared."""
    from charter.reports.chain import chain_runs
    from charter.reports.costs import bill_text
    from charter.reports.run_summary import summarise_reading
    from charter.runs.reader import RunReader

    if steps := chain_runs(directory):
        if as_json or not quiet:
            _print_chain(directory, steps, as_json)
        return
    reading = RunReader(directory)
    if as_json:
        print_json(summarise_reading(reading).model_dump(mode="json"))
    elif not quiet:
        from charter.cli.run_tables import build_tables

        summary = summarise_reading(reading)
        state = "finished" if summary.head else "not finished"
        print_out(f"{summary.run}: {summary.method}{f' on {summary.world}' if summary.world else ''}, {state}")
        if summary.world:
            print_out(_ORGANISM_NOTE)
        if not reading.verifiable:
            print_out(
                "Identity not verifiable: the target was only reached by HTTP; nothing but its name says who answered."
            )
        _warn_roles(reading)
        _copies(reading)
        _print_doubts(summary)
        _print_skipped(summary)
        if cost := bill_text(summary.roles):
            print_out(cost)
        for title, rows, numbers in build_tables(reading, summary):
            print_table(rows, title, numbers)
        _print_ending(directory, reading, summary.head)


def _print_chain(directory: Path, steps: list[Path], as_json: bool) -> None:
    from charter.reports.chain import is_complete

    print_comparison(steps, as_json)
    if not as_json:
        print_out("Each step is a run of its own; it goes on from the one before: charter show FOLDER")
        print_out(
            f"Check it: charter verify {directory}" if is_complete(directory) else f"Go on: charter resume {directory}"
        )


def _warn_roles(reading: RunReader) -> None:
    """Who plays more than one part, or is no model."""
    from charter.reports.run_summary import scripted_note

    if not reading.outcome.get("independent", True):
        print_out("Not independent: the evaluator is the same model as another role.")
    if said := scripted_note(reading):
        print_out(" ".join(said))


def _copies(reading: RunReader) -> None:
    """What was asked more than once."""
    from charter.reports.paired_tests import FINAL_STEP, START_STEP

    scores = [*reading.scores(f"{START_STEP}_scores").values(), *reading.scores(f"{FINAL_STEP}_scores").values()]
    notes: dict[str, list[str]] = {}
    for score in scores:
        notes.setdefault(score.note, []).append(score.id.replace("_", " "))
    for note, names in notes.items():
        if note:
            print_out(f"Held-out, {', '.join(dict.fromkeys(names))}: {note}.")


def _print_doubts(summary: RunSummary) -> None:
    """What was not judged, and what is not known of the judges."""
    if summary.unjudged:
        print_out(
            f"{summary.unjudged} unjudged: replies off the menu, never averaged and never trained on; "
            "beside each share stands what they leave open."
        )
    if summary.unjudged_why:
        print_out(
            f"Why verdicts are missing: {'; '.join(f'{why}: {count}' for why, count in summary.unjudged_why.items())}."
        )
    if summary.refused:
        by = "; ".join(f"{category}: {count}" for category, count in summary.refused.items())
        print_out(
            f"Judges refused {sum(summary.refused.values())} times, by category: {by}. What a judge will not look at "
            "is no random part: shares without it are biased."
        )
    for note in summary.notes:
        print_out(f"Noted: {note}.")
    for warning in summary.judging["warnings"]:
        print_out(f"Warning: {warning}")


def _print_skipped(summary: RunSummary) -> None:
    """The target, and what it could not answer or learn from."""
    if target := summary.target:
        print_out(f"Target: {target['model']} on {target['device']} in {target['dtype']}; {target['format']}.")
    for source, counts in summary.rows_left_out.items():
        told = "; ".join(f"{reason}: {count}" for reason, count in counts.items())
        print_out(f"{sum(counts.values())} rows of {source} were left out. {told}.")
    if summary.failed:
        reasons = "; ".join(f"{reason}: {count}" for reason, count in summary.failed.items())
        print_out(f"{sum(summary.failed.values())} answers failed, and count as unjudged. {reasons}.")
    if summary.left_out:
        print_out(f"{summary.left_out} training rows were too long or not rendered, and left out; none was cut.")
    for folder, sifted in summary.curation.items():
        print_out(f"Curation in {folder}: {sifted['rows']:,} rows came in, {sifted['kept']:,} stay.")
    for missing in dict.fromkeys(sifted["not_covered"] for sifted in summary.curation.values()):
        if missing:
            print_out(f"Warning: not looked for among the training rows: {missing}")


def _print_ending(directory: Path, reading: RunReader, head: str | None) -> None:
    from charter.reports.run_summary import untrained_note

    useless = [p.title or p.id for p in reading.constitution.active if p.efficacy and p.efficacy.judgement == "useless"]
    if useless:
        print_out(f"Useless rules, measured: {'; '.join(useless)}")
    if stopped := reading.outcome.get("stopped"):
        print_out(f"It stopped because {stopped}.")
    if said := untrained_note(reading):
        print_out(said)
    if (report := directory / "report.html").is_file():
        print_out(f"The report: {report} (open it in a browser)")
    print_out(
        f"HEAD {head}\nKeep it: charter verify {directory} --expect HASH"
        if head
        else f"Go on: charter resume {directory}"
    )
