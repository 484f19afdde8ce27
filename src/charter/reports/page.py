"""``charter report``: one HTML file that needs no network and runs no script. Every text that a model or a user wrote
is escaped; ``redact`` hides those texts and keeps their ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from charter.nouns import ENOUGH, Principle, Score
from charter.reports.audit import audited
from charter.reports.audit_tables import piece_rows, sentence
from charter.reports.audit_tables import rows as audit_rows
from charter.reports.benchmarked import benchmark_tables
from charter.reports.compare import changed, shows, signed, spoken
from charter.reports.costs import Cost, bill, by_role, costs, times
from charter.reports.data_card import cards
from charter.reports.groups import rows
from charter.reports.judging import calibration, trust
from charter.reports.learning import curves, learning
from charter.reports.lineage import lineage
from charter.reports.losses import policies
from charter.reports.measured import judging_tables
from charter.reports.norms import followed
from charter.reports.paired import FINAL, START, before_after
from charter.reports.reading import Reading
from charter.reports.show import gates, left_open, scripted, summarised
from charter.reports.stories import Likeness, Story, iteration, likenesses, ranked, stories
from charter.reports.written import written_tables, yields
from charter.statistics import FEW

CLIP = 2_000
"""Characters shown of one text."""
ROOM = 900_000
"""Characters of all transcripts together, escaped."""
LIKENESSES, CAUSES = 100, 12
"""Look-alikes shown, and causes named under one rule."""


def page(directory: Path | str, redact: bool = False) -> str:
    """The report of a run, finished or not. Raises StoreError, DamagedError, SpecError."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    jinja = Environment(
        loader=PackageLoader("charter.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {"left_open": left_open, "changed": changed, "shows": shows, "signed": signed}
    jinja.filters |= {"said": _said(redact), "spoken": spoken, "percent": _percent, "seconds": _seconds}
    return jinja.get_template("report.html.j2").render(_contents(Reading(directory), redact))


def _contents(reading: Reading, redact: bool) -> dict[str, Any]:
    """Everything that the template names."""
    told = stories(reading)
    constitution, found = reading.constitution, trust(reading)
    shown = _fitting(ranked(told, constitution.principles))
    taken, spent = costs(reading), times(reading)
    alike = [(folder, like) for folder in reading.iterations for like in likenesses(reading, folder)]
    return {
        "redact": redact,
        "enough": ENOUGH,
        "few": FEW,
        "summary": summarised(reading),
        "outcome": reading.outcome,
        "notes": [(step, note) for step, policy in policies(reading).items() for note in policy.notes],
        "scripted": scripted(reading),
        "metrics": _metrics(reading),
        "audit": _audit(reading),
        "warnings": found.warnings,
        "judging": list(judging_tables(found, calibration(reading))),
        "benchmarks": list(benchmark_tables(reading)),
        "written": list(written_tables(yields(reading))),
        "series": _series(reading),
        "learnt": learning(reading),
        "curves": curves(reading),
        "groups": rows(reading),
        "lineage": lineage(reading),
        "cards": cards(reading),
        "iterations": [iteration(reading, folder) for folder in reading.iterations],
        "constitution": constitution,
        "amendments": reading.amendments,
        "norms": followed(reading),
        "causes": {p.id: _causes(p, shown) for p in constitution.principles},
        "discovered": _reversed(reading.outcome.get("planted") or {}),
        "stories": shown,
        "told": len(told),
        "likenesses": _grouped(alike[:LIKENESSES]),
        "alike": len(alike),
        "calls": _calls(taken),
        "roles": _by(taken, lambda cost: (cost.purpose, cost.role)),
        "repeated": sum(max(0, cost.made - cost.calls) for cost in taken),
        "bill": bill(by_role(taken)),
        "times": spent,
        "human": reading.human,
        "events": Counter(event["event"] for event in reading.events),
        "spec": _clipped(reading.text("spec.yaml"), 20_000),
        "environment": _clipped(reading.text("environment.json"), 20_000),
    }


def _audit(reading: Reading) -> dict[str, Any] | None:
    """An audit's outcome and tables; the first two columns of each hold what a model may have written."""
    found = audited(reading)
    if found is None:
        return None
    return {"found": found, "said": sentence(found), "tables": (audit_rows(found), piece_rows(found))}


def _metrics(reading: Reading) -> list[dict[str, Any]]:
    """Held-out, a row for each metric: before, after, and the paired comparison."""
    before, after = reading.scores(f"{START}_scores"), reading.scores(f"{FINAL}_scores")
    pairs = before_after(reading)
    return [
        {"name": name, "before": before.get(name), "after": after.get(name), "pair": pairs.get(name)}
        for name in dict.fromkeys([*before, *after])
    ]


def _series(reading: Reading) -> dict[str, list[tuple[str, Score]]]:
    """Gate, a curve for each metric: (start or folder, score)."""
    points = {"start": reading.scores("000/gate_scores"), **gates(reading)}
    names = dict.fromkeys(name for scores in points.values() for name in scores)
    return {name: [(label, s[name]) for label, s in points.items() if name in s] for name in names}


def _causes(principle: Principle, shown: Sequence[Story]) -> list[tuple[str, str]]:
    """(finding id, anchor on this page or nothing) of a rule's first causes, those on the page first."""
    anchors = {story.finding.id: story.anchor for story in shown}
    named = [(cause, anchors.get(cause, "")) for cause in principle.because]
    return sorted(named, key=lambda cause: not cause[1])[:CAUSES]


def _fitting(told: Sequence[Story]) -> list[Story]:
    """As many stories as there is room for, in the order of the run."""
    from markupsafe import escape

    room, fitting = ROOM, []
    for story in told:
        room -= 1_500 + sum(len(escape(_clipped(text))) for text in _texts(story))
        if room < 0:
            break
        fitting.append(story)
    return sorted(fitting, key=lambda story: (story.folder, int(story.anchor.rsplit("-", 1)[1])))


def _texts(story: Story) -> list[str]:
    exchange = story.finding.exchange
    texts = [*(m.content for m in exchange.prompt.messages), exchange.response, story.finding.verdict.rationale]
    revised = story.revision.exchange.response if story.revision else ""
    return [*texts, story.critique, revised, *(v.rationale for v in (story.recheck, story.help) if v)]


def _calls(taken: Sequence[Cost]) -> list[tuple[tuple[str, ...], dict[str, float]]]:
    """By purpose and use, the target's own left out."""
    return _by([cost for cost in taken if cost.purpose != "target"], lambda cost: (cost.purpose, cost.use, cost.role))


def _by(
    taken: Sequence[Cost], key: Callable[[Cost], tuple[str, ...]]
) -> list[tuple[tuple[str, ...], dict[str, float]]]:
    groups: dict[tuple[str, ...], dict[str, float]] = {}
    for cost in taken:
        group = groups.setdefault(key(cost), dict.fromkeys(("calls", "tokens_in", "tokens_out", "seconds"), 0.0))
        for name in group:
            group[name] += getattr(cost, name)
    return sorted(groups.items())


def _grouped(alike: Sequence[tuple[str, Likeness]]) -> dict[str, list[Likeness]]:
    groups: dict[str, list[Likeness]] = {}
    for folder, like in alike:
        groups.setdefault(folder, []).append(like)
    return groups


def _reversed(planted: dict[str, Any]) -> dict[str, list[str]]:
    """Principle id -> the planted flaws that it discovered."""
    found: dict[str, list[str]] = {}
    for flaw, principle in (planted.get("by") or {}).items():
        found.setdefault(principle, []).append(flaw)
    return found


def _clipped(text: str, most: int = CLIP) -> str:
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} more characters)"


def _said(redact: bool) -> Callable[[str], str]:
    """The filter through which every text of a model or a user goes; the template escapes what it gives."""
    return lambda text: f"[hidden: {len(text)} characters]" if redact and text else _clipped(text)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 90 else f"{value / 60:.1f} min"
