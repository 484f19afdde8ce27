"""``charter compare``: runs, or methods that it runs first, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charter.cli.running import asked, begin, working
from charter.cli.showing import put_comparison
from charter.cli.terminal import AsJson, Changes, Quiet, changes_of, put, put_json, put_table, say
from charter.errors import SpecError

if TYPE_CHECKING:
    from charter.reports.sides import Sides

PAGE = "compare.html"


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
            help=f"Where methods are run, as DIR/METHOD/SEED, and {PAGE} is written; runs/compare where none is given. "
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
    single = [Path(side) for side in sides if _run(Path(side))]
    if len(single) == len(sides) and out is None:
        put_comparison(single, as_json, markdown)
        return
    out = out or Path("runs/compare")
    from charter import store
    from charter.reports.sides import sides as compared
    from charter.reports.sides_page import page

    wanted = changes_of(changes)
    names = [_name(side) for side in sides]
    twice = {name for name in names if names.count(name) > 1}
    names = [side if name in twice and Path(side).is_dir() else name for side, name in zip(sides, names, strict=True)]
    if again := sorted({name for name in names if names.count(name) > 1}):
        raise SpecError(f"two sides are called {', '.join(again)}", cure="Give the spec files or folders other names.")
    every = [_runs(side, _numbers(seeds), out, wanted, quiet) for side in sides]
    found = compared(list(zip(names, every, strict=True)))
    out.mkdir(parents=True, exist_ok=True)
    store.write_atomic(out / PAGE, page(found).encode())
    _put_sides(found, as_json, markdown)
    say(f"{out / PAGE} is written")


def _put_sides(found: Sides, as_json: bool, markdown: bool) -> None:
    from charter.reports.compare import lines
    from charter.reports.sides_page import difference_rows, table

    tables = [("", table(found)), ("Differences on the same prompts and seeds", difference_rows(found))]
    if as_json:
        put_json(found.model_dump(mode="json"))
    elif markdown:
        put("\n".join("\n".join(lines(rows)) + "\n" for _, rows in tables), data=True)
    else:
        for title, rows in tables:
            put_table(rows, title, numbers=range(1, len(rows[0])))
    if found.apart:
        say(f"measured otherwise than the others, and not compared: {', '.join(found.apart)}")
    for note in found.notes:
        say(note)


def _runs(side: str, seeds: Sequence[int], out: Path, changes: Mapping[str, str], quiet: bool) -> list[Path]:
    """The folders of a side; a method is taken to its end first, seed by seed."""
    place = Path(side)
    if place.is_dir():
        if _run(place):
            return [place]
        found = sorted(folder for folder in place.iterdir() if folder.is_dir() and _run(folder))
        if not found:
            raise SpecError(f"{place} holds no run", cure="Name a run, a folder of runs, a recipe or a spec file.")
        return found
    made = []
    for seed in seeds:
        directory = out / _name(side) / str(seed)
        text = asked(side, {**changes, "seed": str(seed)})
        say(f"{directory}")
        with working(directory, quiet) as observer:
            begin(text, directory, observer, (lambda _: None) if quiet else say)
        made.append(directory)
    return made


def _run(directory: Path) -> bool:
    from charter.reports.links import is_chain

    return (directory / "journal.jsonl").is_file() or is_chain(directory)


def _name(side: str) -> str:
    place = Path(side)
    return place.resolve().name if place.is_dir() else place.stem


def _numbers(seeds: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(part) for part in seeds.split(",")))
    except ValueError as error:
        raise typer.BadParameter(f"{seeds!r} is not a list of numbers", param_hint="--seeds") from error
