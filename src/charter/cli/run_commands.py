"""``charter run``, ``resume`` and ``fork``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charter.cli.interrupts import handle_interrupts
from charter.cli.show_commands import print_summary
from charter.cli.terminal import (
    AsJson,
    Changes,
    Quiet,
    RunFolder,
    parse_changes,
    print_json,
    print_message,
    print_table,
    watch_progress,
)
from charter.errors import SpecError

if TYPE_CHECKING:
    from charter.runs import Observer


def run(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A spec file, or a shipped recipe such as iteralign.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The run's folder; runs/DATE-NAME where none is given.", show_default=False),
    ] = None,
    changes: Changes = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="The run's seed, instead of the spec's.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do and ask nobody.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Align a model: make a run from a spec and take it to its end.

    Where the folder holds a run of the same spec already, a finished one is shown and an unfinished one goes on.
    """
    from charter.jobs.run_requests import begin_or_resume, new_run_dir, read_spec_text

    wanted = parse_changes(changes) | ({} if seed is None else {"seed": str(seed)})
    text = read_spec_text(spec, wanted)
    if dry_run:
        print_plan(text, as_json)
        return
    directory = out or new_run_dir(Path(spec).stem)
    with run_progress(directory, quiet) as observer:
        begin_or_resume(text, directory, observer, ignore if quiet else print_message)
    print_summary(directory, quiet, as_json)


def resume(
    directory: RunFolder,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A larger budget.calls, budget.tokens, budget.money or budget.hours. Other keys need a fork.",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a run where it stopped. What is finished is read, not computed again."""
    from charter import jobs

    budget = _budget_limits(parse_changes(changes))
    with run_progress(directory, quiet) as observer:
        jobs.resume_run(directory, observer, budget, ignore if quiet else print_message)
    print_summary(directory, quiet, as_json)


def fork(
    directory: RunFolder,
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The new run's folder.", show_default=False)],
    at: Annotated[
        str | None,
        typer.Option(
            metavar="STEP",
            help="The first step to be made anew, e.g. 002/policy. Without it a finished run is gone on from its end.",
        ),
    ] = None,
    constitution: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The amended constitution, for a run that goes on from the end."),
    ] = None,
    changes: Changes = None,
    feedback: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            help="Learn from what users said: a store of feedback, or a file that charter feedback export wrote.",
        ),
    ] = "",
    without_rows: Annotated[
        list[str] | None,
        typer.Option(
            "--without-row",
            metavar="ID",
            help="Begin anew as the old run began, without this row of its feedback; repeatable.",
        ),
    ] = None,
) -> None:
    """Make a new run from an old one, with changes to its spec: from the steps before STEP, or, where the old one is
    finished, from its end, with its policy, rules and rows. What people decided about the rules is followed then.
    `charter resume NEW` goes on."""
    from charter.jobs.forks import ForkRequest, fork_run

    request = ForkRequest(at, constitution, parse_changes(changes), feedback, tuple(without_rows or ()))
    for line in fork_run(directory, new, request):
        print_message(line)


@contextmanager
def run_progress(directory: Path, quiet: bool) -> Iterator[Observer]:
    """Progress while a run is at work; an interrupt ends it and says how to go on."""
    with watch_progress(quiet) as observer, handle_interrupts(directory, observer) as watching:
        yield watching


def ignore(line: str) -> None:
    """Is told and says nothing."""
    del line


def _budget_limits(changes: Mapping[str, str]) -> dict[str, str]:
    """Limits by name. Raises SpecError where another key is to change."""
    others = [key for key in changes if not key.startswith("budget.")]
    if others:
        faults = tuple(f"{key}: cannot change in a run that has begun" for key in others)
        raise SpecError("only the budget can be changed when a run goes on", faults, "Make a new run: charter fork")
    return {key.removeprefix("budget."): value for key, value in changes.items()}


def print_plan(text: str, as_json: bool) -> None:
    """Prints what a run would do."""
    from charter import jobs
    from charter import spec as specs

    plan: dict[str, Any] = {}
    written = 0
    for name, step in specs.split_chain(text):
        plan[name] = jobs.forecast_run(specs.parse_spec(step), written)
        written = plan[name].get("prompts_at_most", 0)
    plan = plan or dict(jobs.forecast_run(specs.parse_spec(text)))
    if as_json:
        print_json(plan)
        return
    print_table([("a run would", ""), *_flatten(plan)], "Nothing was asked, and no model was loaded.")


def _flatten(plan: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in plan.items():
        name = f"{above}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{name}: ")
        else:
            yield name, "none" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
