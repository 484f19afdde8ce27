"""``charter compare``: runs, or methods that it runs first, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charter.cli.run_commands import run_progress
from charter.cli.show_commands import print_comparison
from charter.cli.terminal import (
    AsJson,
    Changes,
    Quiet,
    parse_changes,
    print_json,
    print_message,
    print_out,
    print_table,
)
from charter.errors import SpecError

if TYPE_CHECKING:
    from charter.reports.method_comparison import MethodComparison

COMPARE_PAGE = "compare.html"


def compare(
    sides: Annotated[
        list[str],
        typer.Argument(
            metavar="SIDE...",
            help="Folders of runs; or methods to run first: shipped recipes and spec files; or folders with a run for "
            "each seed.",
            show_default=False,
        ),
    ],
    seeds: Annotated[str, typer.Option(metavar="N,N", help="Seeds with which each method is run.")] = "0",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help=f"Where methods are run, as DIR/METHOD/SEED, and {COMPARE_PAGE} is written; "
            "runs/compare where none is given. "
            "Runs alone get a page only where one is given.",
        ),
    ] = None,
    changes: Changes = None,
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    quiet: Quiet = False,
) -> None:
    """Compare runs in one table, two on the same held-out prompts prompt by prompt. Recipes and spec files are run
    first, all with the same changes and seeds; what is finished is not run again."""
    if changes and all(Path(side).is_dir() for side in sides):
        raise SpecError(
            "--set changes what is run, and all sides are there already", cure="Leave it out, or name recipes."
        )
    single = [Path(side) for side in sides if _is_run(Path(side))]
    if len(single) == len(sides) and out is None:
        print_comparison(single, as_json, markdown)
        return
    out = out or Path("runs/compare")
    from charter.reports.method_comparison import compare_methods as compared
    from charter.reports.method_comparison_page import render_comparison_page
    from charter.runs import store

    wanted = parse_changes(changes)
    names = [_side_name(side) for side in sides]
    twice = {name for name in names if names.count(name) > 1}
    names = [side if name in twice and Path(side).is_dir() else name for side, name in zip(sides, names, strict=True)]
    if again := sorted({name for name in names if names.count(name) > 1}):
        raise SpecError(f"two sides are called {', '.join(again)}", cure="Give the spec files or folders other names.")
    every = [_collect_runs(side, _parse_seeds(seeds), out, wanted, quiet) for side in sides]
    found = compared(list(zip(names, every, strict=True)))
    out.mkdir(parents=True, exist_ok=True)
    store.write_atomic(out / COMPARE_PAGE, render_comparison_page(found).encode())
    _print_methods(found, as_json, markdown)
    print_message(f"{out / COMPARE_PAGE} is written")


def _print_methods(found: MethodComparison, as_json: bool, markdown: bool) -> None:
    from charter.reports.method_comparison_page import difference_rows, figure_rows
    from charter.reports.run_comparison import markdown_table_lines

    tables = [("", figure_rows(found)), ("Differences on the same prompts and seeds", difference_rows(found))]
    if as_json:
        print_json(found.model_dump(mode="json"))
    elif markdown:
        print_out("\n".join("\n".join(markdown_table_lines(rows)) + "\n" for _, rows in tables), data=True)
    else:
        for title, rows in tables:
            print_table(rows, title, numbers=range(1, len(rows[0])))
    if found.measured_otherwise:
        print_message(f"measured otherwise than the others, and not compared: {', '.join(found.measured_otherwise)}")
    for note in found.notes:
        print_message(note)


def _collect_runs(side: str, seeds: Sequence[int], out: Path, changes: Mapping[str, str], quiet: bool) -> list[Path]:
    """The folders of a side; a method is taken to its end first, seed by seed."""
    from charter.jobs.run_requests import begin_or_resume, read_spec_text

    place = Path(side)
    if place.is_dir():
        if _is_run(place):
            return [place]
        found = sorted(folder for folder in place.iterdir() if folder.is_dir() and _is_run(folder))
        if not found:
            raise SpecError(f"{place} holds no run", cure="Name a run, a folder of runs, a recipe or a spec file.")
        return found
    made = []
    for seed in seeds:
        directory = out / _side_name(side) / str(seed)
        text = read_spec_text(side, {**changes, "seed": str(seed)})
        print_message(f"{directory}")
        with run_progress(directory, quiet) as observer:
            begin_or_resume(text, directory, observer, (lambda _: None) if quiet else print_message)
        made.append(directory)
    return made


def _is_run(directory: Path) -> bool:
    from charter.reports.chain import is_chain
    from charter.runs import store

    return (directory / store.JOURNAL).is_file() or is_chain(directory)


def _side_name(side: str) -> str:
    place = Path(side)
    return place.resolve().name if place.is_dir() else place.stem


def _parse_seeds(seeds: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(part) for part in seeds.split(",")))
    except ValueError as error:
        raise typer.BadParameter(f"{seeds!r} is not a list of numbers", param_hint="--seeds") from error
