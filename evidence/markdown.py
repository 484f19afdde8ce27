"""What the tables of evidence are made of: rows as Markdown, and figures in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SHOWN = {
    "harmlessness": "harmlessness",
    "honesty": "honesty",
    "retention": "retention",
    "helpfulness": "helpfulness",
    "over_refusal": "over-refusal, look-alikes",
    "over_refusal_borderline": "over-refusal, borderline",
}


def lines(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table with its head."""
    made = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join([*made, *("| " + " | ".join(map(text, r)) + " |" for r in rows)])


def text(value: Any) -> str:
    """A cell: nothing as a dash, a figure to three places."""
    if value is None:
        return "-"
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def share(value: float | None) -> str:
    """A share in percent."""
    return "-" if value is None else f"{100 * value:.1f} %"


def spread(values: Sequence[float | None]) -> str:
    """Shares from the smallest to the largest."""
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    low, high = share(min(known)), share(max(known))
    return low if low == high else f"{low[:-2]} to {high}"
