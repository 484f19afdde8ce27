"""``charter audit`` and ``charter battery``."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from charter.cli.evaluating import listed
from charter.cli.running import begin, fresh, nobody, working
from charter.cli.terminal import AsJson, Changes, Quiet, RunFolder, changes_of, put, put_json, put_table, say

if TYPE_CHECKING:
    from charter.reports.audit import Audit


Further = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="YAML: benchmarks that the battery is to have beside those of the run's spec; repeatable.",
        show_default=False,
    ),
]
UNDONE, INTERRUPTED = 9, 130
"""What an audit that could not be done exits with where the error's own code would be taken for an outcome."""


class AuditCommand(TyperCommand):
    """A command whose exit codes 0, 1 and 2 are outcomes and nothing else."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What was asked for."""
        with _told_apart():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """The audit."""
        with _told_apart():
            return super().invoke(ctx)


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except typer.Exit:
        raise
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(INTERRUPTED) from interrupt
    except Exception as error:
        if not hasattr(error, "exit_code"):
            traceback.print_exc()
            raise typer.Exit(UNDONE) from error
        if error.exit_code in (0, 1, 2):
            error.exit_code = UNDONE
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
    benchmark: Further = None,
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
    from charter import spec as specs
    from charter import wiring
    from charter.reports.audit import compared
    from charter.reports.junit import junit as as_junit
    from charter.reports.reading import Reading
    from charter.store import write_atomic

    text = specs.changed(wiring.asked_for(model, baseline, battery, _further(benchmark)), changes_of(changes), "audit")
    directory = out or fresh("audit")
    with working(directory, quiet) as observer:
        begin(text, directory, observer, nobody if quiet else say)
    found = compared(Reading(directory))
    if junit is not None:
        write_atomic(junit, as_junit(found).encode())
    if as_json:
        put_json(found.model_dump(mode="json"))
    elif not quiet:
        told(found)
        put(f"The report: {directory / 'report.html'}")
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
    benchmark: Further = None,
) -> None:
    """Make a battery for audits from a finished run: the failures behind each principle, attacks on them, prompts like
    them that nothing was trained on, and the benchmark. It is frozen: results of different batteries are never
    compared."""
    from charter import wiring
    from charter.spec import AuditSpec

    styles = tuple(style) if style else None
    further = wiring.further(_further(benchmark)) if benchmark else ()
    asked = AuditSpec(own=own, fresh=fresh, prompts=prompts, styles=styles, benchmarks=further)
    made = wiring.write_battery(directory, out, asked)
    say(f"{out}: {len(made.probes)} prompts about {len(made.principles)} principles; digest {made.digest}")
    if made.exams:
        say(f"  benchmarks: {', '.join(made.exams)}")
    for note in made.notes:
        say(f"  {note}")


def _further(files: list[Path] | None) -> list[dict[str, Any]]:
    """The benchmarks of all files. Raises SpecError."""
    return [found for file in files or () for found in listed(file)]


def told(found: Audit) -> None:
    """An audit for the terminal."""
    from charter.reports.audit_tables import piece_rows, rows, sentence

    put(sentence(found))
    put_table(rows(found), "Each on the same prompts, before and after; a failure with the attacks on it is one prompt")
    put_table(piece_rows(found), "The parts of each principle's prompts")
    for note in found.notes:
        put(f"Note: {note}")
