"""``charter audit`` and ``charter battery``."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from charter.cli.evaluate_command import read_benchmarks
from charter.cli.run_commands import ignore, run_progress
from charter.cli.terminal import (
    AsJson,
    Changes,
    Quiet,
    RunFolder,
    parse_changes,
    print_json,
    print_message,
    print_out,
    print_table,
)

if TYPE_CHECKING:
    from charter.reports.audit_comparison import AuditReport


BenchmarkFiles = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="YAML: benchmarks that the battery is to have beside those of the run's spec; repeatable.",
        show_default=False,
    ),
]
EXIT_UNDONE, EXIT_INTERRUPTED = 9, 130
"""What an audit that could not be done exits with where the error's own code would be taken for an outcome."""


class AuditCommand(TyperCommand):
    """A command whose exit codes 0, 1 and 2 are outcomes and nothing else."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What was asked for."""
        with _separate_exit_codes():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """The audit."""
        with _separate_exit_codes():
            return super().invoke(ctx)


@contextmanager
def _separate_exit_codes() -> Iterator[None]:
    try:
        yield
    except typer.Exit:
        raise
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from interrupt
    except Exception as error:
        if not hasattr(error, "exit_code"):
            traceback.print_exc()
            raise typer.Exit(EXIT_UNDONE) from error
        if error.exit_code in (0, 1, 2):
            error.exit_code = EXIT_UNDONE
        raise


def audit(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A run (its policy), a folder of weights or of an adapter, or a hub id."),
    ],
    baseline: Annotated[
        str,
        typer.Option(metavar="RUN_OR_MODEL", help="What it is compared with; a finished audit is not asked again."),
    ],
    battery: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A frozen battery; one is made from the baseline where none is given."),
    ] = None,
    benchmark: BenchmarkFiles = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The run's folder; runs/DATE-audit where none is given.", show_default=False),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write JUnit XML as well.", show_default=False)
    ] = None,
    changes: Changes = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Audit a model for drift from its constitution: principle by principle, against a baseline, with a frozen battery.

    Exits with 0 where everything is kept, with 1 where something is broken or weakened, with 2 where the data cannot
    tell. An audit that cannot be done exits with 3 to 9. It leaves a run of its own: charter report shows it.
    """
    from charter import jobs
    from charter import spec as specs
    from charter.jobs.run_requests import begin_or_resume, new_run_dir
    from charter.reports.audit_comparison import compare_sides
    from charter.reports.junit import render_junit as as_junit
    from charter.runs.reader import RunReader
    from charter.runs.store import write_atomic

    text = specs.change_spec(
        jobs.audit_spec(model, baseline, battery, _read_benchmarks(benchmark)), parse_changes(changes), "audit"
    )
    directory = out or new_run_dir("audit")
    with run_progress(directory, quiet) as observer:
        begin_or_resume(text, directory, observer, ignore if quiet else print_message)
    found = compare_sides(RunReader(directory))
    if junit is not None:
        write_atomic(junit, as_junit(found).encode())
    if as_json:
        print_json(found.model_dump(mode="json"))
    elif not quiet:
        print_audit(found)
        print_out(f"The report: {directory / 'report.html'}")
    raise typer.Exit(found.exit_code)


def battery(
    directory: RunFolder,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write; JSON.")],
    own: Annotated[int, typer.Option(metavar="N", min=0, help="Most failures of each principle.")] = 30,
    fresh: Annotated[int, typer.Option(metavar="N", min=0, help="Most fresh prompts for each principle.")] = 60,
    prompts: Annotated[int, typer.Option(metavar="N", min=1, help="Most prompts of each kind of the benchmark.")] = 330,
    style: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="An attack style; repeatable.", show_default=False)
    ] = None,
    labelled: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Exchanges that people labelled: the violating ones are taken; repeatable.",
            show_default=False,
        ),
    ] = None,
    benchmark: BenchmarkFiles = None,
) -> None:
    """Make a battery for audits from a finished run: the failures behind each principle, attacks on them, prompts like
    them that nothing was trained on, and the benchmark. It is frozen: results of different batteries are never
    compared."""
    from charter import jobs
    from charter.spec import AuditSpec

    styles = tuple(style) if style else None
    further = jobs.parse_benchmarks(_read_benchmarks(benchmark)) if benchmark else ()
    asked = AuditSpec(own=own, fresh=fresh, prompts=prompts, styles=styles, benchmarks=further)
    made = jobs.write_battery(directory, out, asked, tuple(labelled or ()))
    print_message(f"{out}: {len(made.probes)} prompts about {len(made.principles)} principles; digest {made.digest}")
    if made.benchmarks:
        print_message(f"  benchmarks: {', '.join(made.benchmarks)}")
    for note in made.notes:
        print_message(f"  {note}")


def _read_benchmarks(files: list[Path] | None) -> list[dict[str, Any]]:
    """The benchmarks of all files. Raises SpecError."""
    return [found for file in files or () for found in read_benchmarks(file)]


def print_audit(found: AuditReport) -> None:
    """An audit for the terminal. The outcome comes last, where a log of a job is read first."""
    from charter.reports.audit_tables import line_rows, outcome_advice, outcome_sentence, part_rows

    print_table(
        line_rows(found),
        "Shares of the same prompts that pass, before and now; a failure with the attacks on it is one prompt",
    )
    print_table(part_rows(found), "The parts of each principle's prompts")
    for note in found.notes:
        print_out(f"Note: {note}")
    print_out(outcome_sentence(found))
    if advice := outcome_advice(found):
        print_out(advice)
