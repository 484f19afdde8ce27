"""``charter curate``: a data set sifted, alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from charter.cli.terminal import AsJson, parse_changes, print_json, print_message, print_out, print_table

NEAR_DUPLICATE = 0.8


def curate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSONL, CSV, Parquet or JSON; or a folder of them.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder to write; it must not be there yet.", show_default=False)
    ],
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]FILE", help="A benchmark in use; NAME of a published set; repeatable."),
    ] = None,
    spec: Annotated[
        Path | None,
        typer.Option(
            metavar="SPEC", help="A spec: its options.curate, gate, held-out, benchmarks, judge.", show_default=False
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of options.curate, e.g. near=0.7; repeatable."),
    ] = None,
    licence: Annotated[str, typer.Option(metavar="NAME", help="The licence of rows that state none.")] = "",
    as_json: AsJson = False,
) -> None:
    """Sift a data set of any size: contamination, duplicates, balance, personal data and secrets; with a data card.

    DIR holds kept.jsonl, dropped.jsonl (each row with its place, why it is left out and what it matches), card.json
    and the card in words, README.md. Without a spec near-duplicates are looked for at 0.8.
    """
    from charter import spec as specs
    from charter.jobs import curation_job, curation_judge

    asked = specs.read_spec(spec)[0] if spec is not None else None
    options = asked.options.curate if asked is not None else specs.CurationSpec(near=NEAR_DUPLICATE)
    options = specs.change_curation(options, parse_changes(changes))
    if options.rejudge and asked is None:
        raise typer.BadParameter("rejudge needs a judge: give a spec", param_hint="--spec")
    judging = curation_judge.open_target_judge(asked, out) if options.rejudge and asked is not None else None
    card = curation_job.curate_file(
        file, out, options, curation_job.collect_protected_texts(against or (), asked), licence, judging
    )
    if "not covered" in card.settings:
        print_message(f"Not looked for: {card.settings['not covered']}")
    if as_json:
        print_json({"out": str(out), **card.model_dump(mode="json")})
        return
    rows: list[tuple[object, ...]] = [("filter", "rows", "left out")]
    rows += [(one.id, f"{one.rows:,}", f"{one.dropped:,}") for one in card.filters]
    print_table(rows, f"{card.rows:,} rows came in, {card.kept:,} stay", (1, 2))
    masked = ", ".join(f"{kind} {count:,}" for kind, count in card.masked.items())
    print_out(f"Masked in {card.rows_masked:,} rows: {masked}." if masked else "Nothing was masked.")
    print_out(card.statement)
    print_message(f"{out} is written")
