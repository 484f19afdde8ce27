"""The tables of audits: what was planted, what was not, and each alarm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from charter.statistics import wilson
from evidence import markdown as md


def table(found: dict[str, Any]) -> str:
    head = ("planted", "size", "seed", "lost in truth", "found", "state", "drop seen", "n", "power", "also named")
    lines = [
        (
            r["kind"],
            r["size"],
            str(r["seed"]),
            md.share(r["lost"]),
            r["line"] if r["named"] else "**no**",
            r["state"],
            md.share(r["drop"]),
            r["n"],
            md.share(r["power"]),
            ", ".join(r["also"]) or "-",
        )
        for r in found["planted"]
    ]
    drawn = found["resampled"]
    alarms = [
        ("sampled audits of the unchanged model", len(found["sampled"]), *_outcomes(found["sampled"])),
        *(
            (f"audits after a fine-tune on what is right, learning rate {rate:g}", len(rows), *_outcomes(rows))
            for rate in sorted({r["rate"] for r in found["harmless"]})
            if (rows := [r for r in found["harmless"] if r["rate"] == rate])
        ),
        ("audits drawn from stored verdicts", drawn["audits"], drawn["alarms"], "-"),
    ]
    rows = [
        (what, n, k, f"{md.share(k / n)} ({md.share(wilson(k, n)[0])} to {md.share(wilson(k, n)[1])})", kept)
        for what, n, k, kept in alarms
        if n
    ]
    below = ("nothing is wrong", "audits", "alarms", "share", "all kept")
    alarmed = [
        (r["name"], f"{r['rate']:g}", title, md.share(truth["lost"]), int(truth["n"]))
        for r in found["harmless"]
        for title, truth in r["truth"].items()
    ]
    above = ("fine-tune", "learning rate", "line with an alarm", "lost on other prompts", "n")
    return "\n\n".join((md.lines(head, lines), md.lines(below, rows), md.lines(above, alarmed)))


def _outcomes(audits: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """How many audits raised an alarm, and how many said that all is kept; the others could not tell."""
    return sum(r["alarm"] for r in audits), sum(r["outcome"] == "kept" for r in audits)
