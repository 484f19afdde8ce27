"""The tables of curation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

WAYS = {
    "found": "found alone",
    "found within a longer row": "found within a longer row",
    "found as a turn": "found as a turn of a conversation",
}
Lines = Callable[[Sequence[str], Sequence[Sequence[Any]]], str]


def table(part: str, found: dict[str, Any], lines: Lines, share: Callable[[float | None], str]) -> str:
    """One part: ``duplicates``, ``contamination`` or ``masking``."""
    if part == "duplicates":
        keys = ("prompts", "CPU seconds", "seconds", "GiB", "left out", "true in the sample")
        rows = found["duplicates"]["rows"]
        told = [(r["how"], share(r["recall"]), share(r["precision"]), *(r.get(key) for key in keys)) for r in rows]
        own = rows[0]
        wall = f"{own['seconds']:.0f} s by the clock, with {own['load']:.0f} processes at work on the machine's cores"
        return f"{lines(('how', 'recall', 'precision', *keys), told)}\n\nThe first line took {wall}."
    if part == "contamination":
        held = found["contamination"]
        ways = [key for key in WAYS if key in held["planted"][0]]
        told = [(r["words"], r["way"], r["n"], *(r[key] for key in ways)) for r in held["planted"]]
        clean = held["clean"]
        interval = f"{100 * clean['low']:.2f} to {100 * clean['high']:.2f} %"
        wrong = f"{clean['dropped']} of {clean['n']:,} clean rows were left out ({interval})"
        beside = f"of AdvBench's other half, {held['siblings']['dropped']} of {held['siblings']['n']}"
        head = ("words", "planted", "n", *(WAYS[key] for key in ways))
        return f"{lines(head, told)}\n\n{wrong}; {beside}."
    masked = found["masking"]
    recall = [(r["kind"], r["form"], r["n"], share(r["share"])) for r in masked["rows"] if r["kind"] != "none"]
    wrong_rows = [(r["form"], r["n"], r["masked"]) for r in masked["rows"] if r["kind"] == "none"]
    precision = [(r["kind"], r["masked"], share(r["precision"])) for r in masked["precision"]]
    tables = [
        lines(("kind", "form", "n", "masked whole"), recall),
        lines(("masked as", "places", "of that kind"), precision),
        lines(("no personal data", "n", "masked by mistake"), wrong_rows),
    ]
    if "cost" in masked:
        tables.append(f"Masking takes {masked['cost']['rows per CPU second']:,} rows in a CPU second.")
    return "\n\n".join(tables)
