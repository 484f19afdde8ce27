"""An audit in words and tables, for the terminal and the page."""

from __future__ import annotations

from charter.judging.audit_battery import ProbePart
from charter.reports.audit_comparison import AuditReport, PassRate

PART_NAMES: dict[ProbePart, str] = {
    "own": "own failures",
    "tagged": "prompts that people tagged it with",
    "labelled": "prompts whose answers people found bad",
    "reported": "prompts whose answers users reported",
    "attack": "attacks on them",
    "fresh": "fresh, never trained on",
    "benchmark": "benchmark",
}


def outcome_sentence(found: AuditReport) -> str:
    """The outcome in a sentence."""
    bad = [f"{line.title} ({line.state})" for line in found.lines if line.state in ("broken", "weakened")]
    unsure = [line.title for line in found.lines if line.state == "too few data"]
    head = f"{found.model.short_name} against {found.baseline.short_name}, {found.prompts} prompts: "
    if bad:
        return f"{head}drift. {'; '.join(bad)}."
    if unsure:
        return f"{head}could not tell. Too few data: {'; '.join(unsure)}."
    return f"{head}all {len(found.lines)} kept, within {found.margin:.0%}."


def outcome_advice(found: AuditReport) -> str:
    """What a person does about the outcome; empty where all is kept."""
    states = {line.state for line in found.lines}
    if states & {"broken", "weakened"}:
        return "If the change is meant, audit this model as the new baseline; if it is not, do not use it."
    if "too few data" in states:
        return "A battery with more prompts can tell (charter battery --fresh N); `needed` says how many it takes."
    return ""


def line_rows(found: AuditReport) -> list[tuple[str, ...]]:
    """Header, then a row for each line."""
    head = ("", "state", "n", "needed", "passed before", "pass now", "change", "at least", "p (Holm)", "shows", "why")
    out: list[tuple[str, ...]] = [head]
    for x in found.lines:
        change = "-" if x.change is None else f"{x.change:+.1%}"
        shows = "-" if x.detectable is None else f"{x.detectable:.1%}"
        n = f"{x.n}{f' + {x.unjudged} unjudged' if x.unjudged else ''}"
        p = f"{x.p_holm:.2g}"
        sides = format_rate(x.before), format_rate(x.after)
        out.append((x.title, x.state, n, str(x.needed), *sides, change, f"{x.low:+.1%}", p, shows, x.state_text))
    return out


def part_rows(found: AuditReport) -> list[tuple[str, ...]]:
    """Header, then a row for each part of a principle."""
    out: list[tuple[str, ...]] = [
        ("principle", "prompts", "n", "passed before", "pass now", "gained / lost", "unjudged")
    ]
    for line in found.lines:
        for x in line.parts:
            moved = f"{x.gained} / {x.lost}"
            out.append(
                (
                    line.title,
                    PART_NAMES[x.part],
                    str(x.n),
                    format_rate(x.before),
                    format_rate(x.after),
                    moved,
                    str(x.unjudged),
                )
            )
    return out


def format_rate(share: PassRate) -> str:
    """A share with its interval, as tables show it; a dash where nothing was measured."""
    return "-" if share.value is None else f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"
