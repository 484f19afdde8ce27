"""The tables of methods side by side."""

from __future__ import annotations

from typing import Any

from evidence import markdown as md
from evidence.markdown import SHOWN

SIGN_FLIP = "sign flip"
"""The test that a comparison's p is of, since records name it."""


def table(found: dict[str, Any]) -> str:
    """One line per method: scores after (smallest to largest seed), and what it took; then the differences that stay
    after Holm's correction."""
    head = ["method", *SHOWN.values(), "oracle calls", "oracle tokens", "lines that people wrote", "seconds"]
    costs = ("oracle calls, aligning", "oracle tokens", "lines that people wrote", "seconds of work")
    lines = []
    for side in found["sides"]:
        ends = [side["quality"].get(m, {}) for m in SHOWN]
        took = [_taken(side["costs"].get(c)) for c in costs]
        lines.append([side["name"], *map(_ended, ends), *took])
    if part := [s for s in found["sides"] if s["quality"]]:
        begun = [part[0]["quality"].get(m, {}).get("before") for m in SHOWN]
        lines.insert(0, ["the start", *(md.share(b["value"]) if b else "-" for b in begun), *[""] * len(costs)])
    below = ("second less first", "metric", "points (95 % interval)", "n", "seeds", "p", "p, Holm")
    sure = [
        (
            f"{d['second']} - {d['first']}",
            SHOWN.get(d["metric"], d["metric"]),
            f"{100 * d['value']:+.1f} ({100 * d['low']:+.1f} to {100 * d['high']:+.1f})",
            d["n"], d["seeds"], *((f"{d['p']:.2g}", f"{d['p_holm']:.2g}") if _has_test(d) else ("-", "-")),
        )
        for d in found["differences"]
        if d["metric"] in SHOWN and (d["p_holm"] <= 0.05 if _has_test(d) else d["low"] > 0 or d["high"] < 0)
    ]  # fmt: skip
    told = f"Of {len(found['differences'])} differences between two methods, those with p of at most 5 % after Holm:"
    if not all(map(_has_test, found["differences"])):
        told = (
            f"Of {len(found['differences'])} differences between two methods, those whose interval leaves out 0. These "
            "runs are older than the sign-flip test. Their p was of a sign test over prompts, which is too small with "
            "several seeds. It is not shown, and cannot be computed anew from what was kept:"
        )
    return f"{md.lines(head, lines)}\n\n{told}\n\n{md.lines(below, sure)}"


def _has_test(difference: dict[str, Any]) -> bool:
    """Whether the p is that of a sign-flip test: with one seed a sign test is the same."""
    return difference["seeds"] == 1 or difference.get("test") == SIGN_FLIP


def _ended(quality: dict[str, Any]) -> str:
    """A score after, over seeds, and its change in points with the interval."""
    after = quality.get("after")
    if not after:
        return "-"
    said = md.spread([after["least"], after["most"]])
    if quality.get("low") is None:
        return said
    return f"{said} ({100 * quality['low']:+.0f} to {100 * quality['high']:+.0f})"


def _taken(cost: dict[str, Any] | None) -> str:
    if cost is None:
        return "-"
    if cost["least"] == cost["most"]:
        return f"{cost['value']:,.0f}"
    return f"{cost['value']:,.0f} ({cost['least']:,.0f} to {cost['most']:,.0f})"
