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
        Path,
        typer.Option(metavar="DIR", help=f"Where methods are run, as DIR/METHOD/SEED, and {PAGE} is written."),
    ] = Path("runs/compare"),
    changes: Changes = None,
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    quiet: Quiet = False,
) -> None:
    """Compare runs in one table, two on the same held-out prompts prompt by prompt. Recipes and spec files are run
    first, all with the same changes and seeds; what is finished is not run again."""
    single = [Path(side) for side in sides if _run(Path(side))]
    if len(single) == len(sides) and not changes:
        put_comparison(single, as_json, markdown)
        return
    from charter import store
    from charter.reports.sides import page
    from charter.reports.sides import sides as compared

    wanted = changes_of(changes)
    named = [(_name(side), _runs(side, _numbers(seeds), out, wanted, quiet)) for side in sides]
    twice = sorted({name for name, _ in named if [n for n, _ in named].count(name) > 1})
    if twice:
        raise SpecError(f"two sides are called {', '.join(twice)}", cure="Give the spec files or folders other names.")
    found = compared(named)
    out.mkdir(parents=True, exist_ok=True)
    store.write_atomic(out / PAGE, page(found).encode())
    _put_sides(found, as_json, markdown)
    say(f"{out / PAGE} is written")


def _put_sides(found: Sides, as_json: bool, markdown: bool) -> None:
    from charter.reports.compare import lines
    from charter.reports.sides import difference_rows, table

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
