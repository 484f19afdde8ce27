"""A training set's data card in words."""

from __future__ import annotations

from charter.data.curation.curation_records import DataCard, GroupCount
from charter.runs.reader import RunReader


def render_data_card(card: DataCard, name: str) -> str:
    """The card as Markdown. Names are shown as code, so that nothing in them is read as markup."""
    lines = [f"# Data card: {inline_code(name)}", "", f"{card.rows:,} rows came in, {card.kept:,} stay.", ""]
    lines += ["| filter | rows | left out |", "|---|---:|---:|"]
    lines += [f"| {f.id} | {f.rows:,} | {f.dropped:,} |" for f in card.filters]
    masked = ", ".join(f"{kind} {count:,}" for kind, count in card.masked.items())
    lines += ["", "## Personal data and secrets", ""]
    lines += [
        f"Masked in {card.rows_masked:,} rows: {masked}." if masked else "Nothing was masked.",
        "",
        card.statement,
    ]
    for title, groups in (("Sources", card.sources), ("Languages", card.languages), ("Lengths", card.lengths)):
        lines += ["", f"## {title}", "", *_group_table(groups, licences=title == "Sources")]
    lines += [
        "",
        "## How it was sifted",
        "",
        *(f"- {key}: {inline_code(value)}" for key, value in card.settings.items()),
    ]
    return "\n".join(lines) + "\n"


def read_data_cards(reading: RunReader) -> dict[str, DataCard]:
    """The data card of each training set that was sifted, by its folder."""
    found = {step: reading.records(step, DataCard) for step in reading.steps if step.endswith("/data_card")}
    return {step.split("/")[0]: made[0] for step, made in found.items() if made}


def inline_code(text: str) -> str:
    """A text as inline code on one line."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split()).replace("|", "/").replace("`", "'")
    return f"`{plain}`" if plain else "–"


def _group_table(groups: tuple[GroupCount, ...], licences: bool) -> list[str]:
    head = (
        ["| | licence | before | after |", "|---|---|---:|---:|"]
        if licences
        else ["| | before | after |", "|---|---:|---:|"]
    )
    rows = []
    for group in groups:
        licence = f" {inline_code(group.licence or 'not stated')} |" if licences else ""
        rows.append(f"| {inline_code(group.id)} |{licence} {group.before:,} | {group.after:,} |")
    return [*head, *rows]
