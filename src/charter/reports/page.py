"""``charter report``: one HTML file that needs no network and runs no script. Every text that a model or a user wrote
is escaped; ``redact`` hides those texts and keeps their ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from charter.records.measurements import Score
from charter.records.rules import MIN_EFFICACY_PAIRS, Principle
from charter.reports.audit_comparison import read_audit
from charter.reports.audit_tables import line_rows as audit_rows
from charter.reports.audit_tables import outcome_sentence, part_rows
from charter.reports.benchmark_figures import benchmark_tables
from charter.reports.breakdown import breakdown_rows
from charter.reports.cluster_themes import tabulate_themes
from charter.reports.costs import StepCost, bill_text, read_costs, read_times, sum_by_role
from charter.reports.data_card_markdown import read_data_cards
from charter.reports.failures import (
    FailureTrace,
    LookalikeAnswer,
    rank_failures,
    read_failures,
    read_lookalikes,
    summarise_iteration,
)
from charter.reports.feedback_effects import read_feedback_effects, tabulate_effects
from charter.reports.judge_trust import read_judge_trust, read_own_calibration
from charter.reports.judging_tables import build_judging_tables
from charter.reports.lineage import build_lineage
from charter.reports.norm_compliance import read_norm_compliance
from charter.reports.paired_tests import FINAL_STEP, START_STEP, PairedChange
from charter.reports.preference_report import read_curves, read_preference_report
from charter.reports.provenance import RunGraph
from charter.reports.rater_tables import tabulate_raters
from charter.reports.rule_refusals import read_checked_wordings, tabulate_checked
from charter.reports.run_comparison import change_text, detectable_text, metric_name, signed_points
from charter.reports.run_summary import (
    RunSummary,
    read_gate_scores,
    scripted_note,
    summarise_reading,
    unjudged_bounds,
    untrained_note,
)
from charter.reports.self_instruct_tables import build_yield_tables, read_yields
from charter.reports.skipped import read_policies, read_row_counts, tabulate_row_counts
from charter.reports.unjudged_reasons import tabulate_unread
from charter.runs.reader import RunReader
from charter.statistics import FEW_JUDGED

MAX_TEXT = 2_000
"""Characters shown of one text."""
MAX_PAGE_TEXT = 900_000
"""Characters of all transcripts together, escaped."""
MAX_LOOKALIKES, MAX_CAUSES, MAX_FEEDBACK = 100, 12, 300
"""Look-alikes shown, causes named under one rule, and rows of feedback shown."""


def render_page(directory: Path | str, redact: bool = False) -> str:
    """The report of a run, finished or not. Raises StoreError, DamagedError, SpecError."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    jinja = Environment(
        loader=PackageLoader("charter.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {
        "left_open": unjudged_bounds,
        "changed": change_text,
        "shows": detectable_text,
        "signed": signed_points,
    }
    jinja.filters |= {"said": _text_filter(redact), "spoken": metric_name, "percent": _percent, "seconds": _seconds}
    return jinja.get_template("report.html.j2").render(_page_contents(RunReader(directory, hold=True), redact))


def _page_contents(reading: RunReader, redact: bool) -> dict[str, Any]:
    """Everything that the template names."""
    summary = summarise_reading(reading)
    return {
        "redact": redact,
        "enough": MIN_EFFICACY_PAIRS,
        "few": FEW_JUDGED,
        "summary": summary,
        "outcome": reading.outcome,
        "notes": [
            *((step, note) for step, policy in read_policies(reading).items() for note in policy.notes),
            *(("a server", note) for note in summary.notes),
        ],
        "scripted": scripted_note(reading),
        "untrained": untrained_note(reading),
        **_measured_contents(reading, summary),
        **_learnt_contents(reading),
        **_failure_contents(reading),
        **_cost_contents(reading),
        "human": reading.human_decisions,
        "events": Counter(event["event"] for event in reading.events),
        "spec": _clip(reading.read_text("spec.yaml"), 20_000),
        "environment": _clip(reading.read_text("environment.json"), 20_000),
    }


def _measured_contents(reading: RunReader, summary: RunSummary) -> dict[str, Any]:
    """What was measured, and how far it can be trusted."""
    trust = read_judge_trust(reading)
    unread = tabulate_unread(summary.unjudged_why, summary.refused)
    return {
        "metrics": list_metric_rows(
            reading, {name: PairedChange.model_validate(pair) for name, pair in summary.changes.items()}
        ),
        "audit": _audit_contents(reading),
        "warnings": trust.warnings,
        "judging": [*build_judging_tables(trust, read_own_calibration(reading)), *tabulate_raters(reading), *unread],
        "row_losses": list(tabulate_row_counts(read_row_counts(reading))),
        "benchmarks": list(benchmark_tables(reading)),
        "series": read_gate_series(reading),
        "groups": breakdown_rows(reading),
    }


def _learnt_contents(reading: RunReader) -> dict[str, Any]:
    """What was written, learnt and decided."""
    return {
        "written": list(build_yield_tables(read_yields(reading))),
        "learnt": read_preference_report(reading),
        "curves": read_curves(reading),
        "lineage": build_lineage(reading),
        "feedback": (effects := read_feedback_effects(RunGraph(reading)))[:MAX_FEEDBACK],
        "feedback_counts": tabulate_effects(effects),
        "cards": read_data_cards(reading),
        "checked": [*tabulate_themes(reading), *tabulate_checked(read_checked_wordings(reading))],
        "iterations": [summarise_iteration(reading, folder) for folder in reading.iterations],
        "constitution": reading.constitution,
        "amendments": reading.amendments,
        "norms": read_norm_compliance(reading),
        "discovered": _flaws_by_rule(reading.outcome.get("planted") or {}),
    }


def _failure_contents(reading: RunReader) -> dict[str, Any]:
    """The failures that there is room for, the rules that they caused, and the look-alikes."""
    told, principles = read_failures(reading), reading.constitution.principles
    shown = _traces_that_fit(rank_failures(told, principles))
    alike = [(folder, like) for folder in reading.iterations for like in read_lookalikes(reading, folder)]
    return {
        "causes": {p.id: _cause_links(p, shown) for p in principles},
        "stories": shown,
        "told": len(told),
        "likenesses": _group_lookalikes(alike[:MAX_LOOKALIKES]),
        "alike": len(alike),
    }


def _cost_contents(reading: RunReader) -> dict[str, Any]:
    """What was asked, and what it took."""
    taken = read_costs(reading)
    return {
        "calls": _call_rows(taken),
        "roles": _sum_by(taken, lambda cost: (cost.purpose, cost.role)),
        "repeated": sum(max(0, cost.made - cost.calls) for cost in taken),
        "bill": bill_text(sum_by_role(taken)),
        "times": read_times(reading),
    }


def _audit_contents(reading: RunReader) -> dict[str, Any] | None:
    """An audit's outcome and tables; the first two columns of each hold what a model may have written."""
    found = read_audit(reading)
    if found is None:
        return None
    return {"found": found, "said": outcome_sentence(found), "tables": (audit_rows(found), part_rows(found))}


def list_metric_rows(reading: RunReader, pairs: Mapping[str, PairedChange]) -> list[dict[str, Any]]:
    """Held-out, a row for each metric: before, after, and the paired comparison (``compare_before_after``)."""
    before, after = reading.scores(f"{START_STEP}_scores"), reading.scores(f"{FINAL_STEP}_scores")
    return [
        {"name": name, "before": before.get(name), "after": after.get(name), "pair": pairs.get(name)}
        for name in dict.fromkeys([*before, *after])
    ]


def read_gate_series(reading: RunReader) -> dict[str, list[tuple[str, Score]]]:
    """Gate, a curve for each metric: (start or folder, score)."""
    points = {"start": reading.scores("000/gate_scores"), **read_gate_scores(reading)}
    names = dict.fromkeys(name for scores in points.values() for name in scores)
    return {name: [(label, s[name]) for label, s in points.items() if name in s] for name in names}


def _cause_links(principle: Principle, shown: Sequence[FailureTrace]) -> list[tuple[str, str]]:
    """(finding id, anchor on this page or nothing) of a rule's first causes, those on the page first."""
    anchors = {story.finding.id: story.anchor for story in shown}
    named = [(cause, anchors.get(cause, "")) for cause in principle.because]
    return sorted(named, key=lambda cause: not cause[1])[:MAX_CAUSES]


def _traces_that_fit(told: Sequence[FailureTrace]) -> list[FailureTrace]:
    """As many stories as there is room for, in the order of the run."""
    from markupsafe import escape

    room, fitting = MAX_PAGE_TEXT, []
    for story in told:
        room -= 1_500 + sum(len(escape(_clip(text))) for text in _trace_texts(story))
        if room < 0:
            break
        fitting.append(story)
    return sorted(fitting, key=lambda story: (story.folder, int(story.anchor.rsplit("-", 1)[1])))


def _trace_texts(story: FailureTrace) -> list[str]:
    exchange = story.finding.exchange
    texts = [*(m.content for m in exchange.prompt.messages), exchange.response, story.finding.verdict.rationale]
    revised = story.revision.exchange.response if story.revision else ""
    return [*texts, story.critique, revised, *(v.rationale for v in (story.recheck, story.help) if v)]


def _call_rows(taken: Sequence[StepCost]) -> list[tuple[tuple[str, ...], dict[str, float]]]:
    """By purpose and use, the target's own left out."""
    return _sum_by(
        [cost for cost in taken if cost.purpose != "target"], lambda cost: (cost.purpose, cost.use, cost.role)
    )


def _sum_by(
    taken: Sequence[StepCost], key: Callable[[StepCost], tuple[str, ...]]
) -> list[tuple[tuple[str, ...], dict[str, float]]]:
    groups: dict[tuple[str, ...], dict[str, float]] = {}
    for cost in taken:
        group = groups.setdefault(key(cost), dict.fromkeys(("calls", "tokens_in", "tokens_out", "seconds"), 0.0))
        for name in group:
            group[name] += getattr(cost, name)
    return sorted(groups.items())


def _group_lookalikes(alike: Sequence[tuple[str, LookalikeAnswer]]) -> dict[str, list[LookalikeAnswer]]:
    groups: dict[str, list[LookalikeAnswer]] = {}
    for folder, like in alike:
        groups.setdefault(folder, []).append(like)
    return groups


def _flaws_by_rule(planted: dict[str, Any]) -> dict[str, list[str]]:
    """Principle id -> the planted flaws that it discovered."""
    found: dict[str, list[str]] = {}
    for flaw, principle in (planted.get("by") or {}).items():
        found.setdefault(principle, []).append(flaw)
    return found


def _clip(text: str, most: int = MAX_TEXT) -> str:
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} more characters)"


def _text_filter(redact: bool) -> Callable[[str], str]:
    """The filter through which every text of a model or a user goes; the template escapes what it gives."""
    return lambda text: f"[hidden: {len(text)} characters]" if redact and text else _clip(text)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 90 else f"{value / 60:.1f} min"
