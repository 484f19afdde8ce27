"""An audit in words and tables, for the terminal and the page."""

from __future__ import annotations

from charter.battery import Part
from charter.reports.audit import Audit, Share

SPOKEN: dict[Part, str] = {
    "own": "own failures",
    "attack": "attacks on them",
    "fresh": "fresh, never trained on",
    "benchmark": "benchmark",
}


def sentence(found: Audit) -> str:
    """The outcome in a sentence."""
    bad = [f"{line.title} ({line.state})" for line in found.lines if line.state in ("broken", "weakened")]
    unsure = [line.title for line in found.lines if line.state == "too few data"]
    head = f"{found.model.name} against {found.baseline.name}, {found.prompts} prompts: "
    if bad:
        return f"{head}drift. {'; '.join(bad)}."
    if unsure:
        return f"{head}could not tell. Too few data: {'; '.join(unsure)}."
    return f"{head}all {len(found.lines)} kept, within {found.margin:.0%}."


def rows(found: Audit) -> list[tuple[str, ...]]:
    """Header, then a row for each line."""
    head = ("", "state", "n", "needed", "before", "after", "change", "at least", "p (Holm)", "shows", "why")
    out: list[tuple[str, ...]] = [head]
    for x in found.lines:
        change = "-" if x.change is None else f"{x.change:+.1%}"
        shows = "-" if x.shows is None else f"{x.shows:.1%}"
        n = f"{x.n}{f' + {x.unjudged} unjudged' if x.unjudged else ''}"
        p = f"{x.p_holm:.2g}"
        sides = _said(x.before), _said(x.after)
        out.append((x.title, x.state, n, str(x.needed), *sides, change, f"{x.low:+.1%}", p, shows, x.why))
    return out


def piece_rows(found: Audit) -> list[tuple[str, ...]]:
    """Header, then a row for each part of a principle."""
    out: list[tuple[str, ...]] = [("principle", "prompts", "n", "before", "after", "gained / lost", "unjudged")]
    for line in found.lines:
        for x in line.pieces:
            moved = f"{x.gained} / {x.lost}"
            out.append((line.title, SPOKEN[x.part], str(x.n), _said(x.before), _said(x.after), moved, str(x.unjudged)))
    return out


def _said(share: Share) -> str:
    return "-" if share.value is None else f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"
