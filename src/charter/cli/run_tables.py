"""A run's tables for the terminal: (title, rows with their head, columns of numbers)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from charter.records.decisions import Alarm, GateCheck
from charter.records.measurements import Score
from charter.records.rules import Efficacy
from charter.reports.audit_comparison import read_audit
from charter.reports.audit_tables import line_rows as audit_rows
from charter.reports.benchmark_figures import benchmark_tables
from charter.reports.cluster_themes import tabulate_themes
from charter.reports.costs import read_costs
from charter.reports.failures import summarise_iteration
from charter.reports.judge_trust import read_judge_trust, read_own_calibration
from charter.reports.judging_tables import build_judging_tables
from charter.reports.norm_compliance import read_norm_compliance
from charter.reports.paired_tests import FINAL_STEP, START_STEP, compare_before_after
from charter.reports.rater_tables import tabulate_raters
from charter.reports.rule_refusals import read_checked_wordings, tabulate_checked
from charter.reports.run_comparison import change_text, detectable_text, metric_name, signed_points
from charter.reports.run_summary import RunSummary, unjudged_bounds
from charter.reports.self_instruct_tables import build_yield_tables, read_yields
from charter.runs.reader import RunReader

AUDIT = (
    "Audit: both sides on the same prompts (p: of a drop, by a sign-flip test over prompts; shows: the smallest drop "
    "that n shows four times in five where as much is gained besides as here)"
)
MAX_REFUSED, MAX_WIDTH = 12, 100
"""Refused rules, and characters of one text, on the terminal."""
Table = tuple[str, list[tuple[object, ...]], Sequence[int]]


def build_tables(reading: RunReader, summary: RunSummary) -> Iterator[Table]:
    """Scores, judging, rules, iterations and calls; those without a row are left out."""
    judging: list[Table] = [
        (title, [*rows], ())
        for title, rows in build_judging_tables(read_judge_trust(reading), read_own_calibration(reading))
    ]
    judging += [(title, [*rows], ()) for title, rows in tabulate_raters(reading)]
    audit = read_audit(reading)
    benchmarks: list[Table] = [(title, [*rows], ()) for title, rows in benchmark_tables(reading)]
    written: list[Table] = [(title, [*rows], (1, 2)) for title, rows in build_yield_tables(read_yields(reading))]
    found: list[Table] = [
        (AUDIT, [*(audit_rows(audit) if audit else [])], ()),
        _score_table(reading),
        *benchmarks,
        *judging,
        *written,
        *_checked_tables(reading),
        _rule_table(reading),
        _rule_use_table(summary),
        _norm_table(reading),
        _iteration_table(reading, summary),
        _gate_table(reading),
        _alarm_table(reading),
        _call_table(reading, summary),
    ]
    yield from (table for table in found if len(table[1]) > 1)


def _score_table(reading: RunReader) -> Table:
    before, after = reading.scores(f"{START_STEP}_scores"), reading.scores(f"{FINAL_STEP}_scores")
    pairs = compare_before_after(reading)
    rows: list[tuple[object, ...]] = [
        ("metric", "before", "after", "n", "unjudged", "+/-", "change", "p, Holm", "n can show")
    ]
    for name in dict.fromkeys([*before, *after]):
        score = after.get(name) or before[name]
        pair = pairs.get(name)
        label = f"{metric_name(name)}{' ↓' if score.better == 'lower' else ''}"
        moved = ("",) * 4
        if pair:
            ps = f"{pair.p:.2g}, {pair.p_holm:.2g}"
            moved = (f"{pair.gained}/{pair.lost}", change_text(pair), ps, detectable_text(pair))
        least, most = unjudged_bounds(score)
        unjudged = f"{score.unjudged}: {least:.1%} to {most:.1%}" if score.unjudged else "0"
        rows.append((label, _share_text(before.get(name)), _share_text(after.get(name)), score.n, unjudged, *moved))
    return (
        "Held-out, with 95 % intervals (↓: lower is better; unjudged, and what they leave open; +/-: prompts that "
        "changed; change in points; p: exact McNemar, alone and corrected over the metrics; n can show: the smallest "
        "change that n pairs show four times in five where as many change the other way as here)",
        rows,
        range(1, 9),
    )


def _rule_use_table(summary: RunSummary) -> Table:
    """Rules by use, with what people wrote, in a run of a method that begins with rules."""
    if summary.ruled is None:
        return "", [], ()
    of = summary.ruled
    rows: list[tuple[object, ...]] = [("what", "count"), *((f"lines by people: {k}", n) for k, n in of.lines.items())]
    rows += [(f"dropped: {reason}", n) for reason, n in of.dropped.items()]
    rows += [(f"rule used: {rule.title}", rule.times) for rule in of.rules]
    return "What people wrote, and how often each rule was used", rows, (1,)


def _gate_table(reading: RunReader) -> Table:
    """Those that failed; of the others how many there were (the report and ``--json`` have them all)."""
    head = ("", "gate", "against", "n", "worse/better", "change", "bound", "margin", "can fail at")
    rows: list[tuple[object, ...]] = [head]
    for folder in reading.iterations:
        gates = reading.records(f"{folder}/gates", GateCheck)
        for gate in (gate for gate in gates if not gate.passed):
            points = map(signed_points, (gate.change, gate.bound, -gate.margin, gate.detectable and -gate.detectable))
            rows.append(
                (
                    folder,
                    f"{metric_name(gate.metric)} failed",
                    gate.against,
                    gate.n,
                    f"{gate.worse}/{gate.better}",
                    *points,
                )
            )
        if passed := sum(gate.passed for gate in gates):
            rows.append((folder, f"{passed} of {len(gates)} passed", *("",) * 7))
    return (
        "Gates, in points (minus: worse): one fails where the bound, the upper end of the change, is beyond the "
        "margin, or would be, were what cannot be judged any more worse. Four times in five it fails where the true "
        "loss is as in the last column, with as many gains besides as here",
        rows,
        range(3, 9),
    )


def _alarm_table(reading: RunReader) -> Table:
    rows: list[tuple[object, ...]] = [("", "alarm")]
    for folder in reading.iterations:
        rows += [(folder, alarm.reason) for alarm in reading.records(f"{folder}/alarms", Alarm)]
    return "Alarms", rows, ()


def _checked_tables(reading: RunReader) -> list[Table]:
    """Named clusters, and what became of proposed rules; of both so many as there is room for."""
    tables: list[Table] = []
    for title, rows in (*tabulate_themes(reading), *tabulate_checked(read_checked_wordings(reading))):
        cut = len(rows) - 1 - MAX_REFUSED
        note = f" (the first {MAX_REFUSED} of {len(rows) - 1}; all: charter report)" if cut > 0 else ""
        shown = [tuple(text[:MAX_WIDTH] for text in row) for row in rows[: MAX_REFUSED + 1]]
        tables.append((title + note, [*shown], (1,) if len(rows[0]) == 2 else ()))
    return tables


def _rule_table(reading: RunReader) -> Table:
    rows: list[tuple[object, ...]] = [("id", "rule", "status", "mends", "efficacy", "causes")]
    for p in reading.constitution.principles:
        rows.append(
            (
                p.id,
                p.title or p.text[:80],
                p.status,
                _efficacy_text(p.efficacy),
                _significance_text(p.efficacy),
                len(p.because),
            )
        )
    return (
        f"Constitution, version {reading.constitution.version}, measured on failures that no proposer saw",
        rows,
        (5,),
    )


def _norm_table(reading: RunReader) -> Table:
    rows: list[tuple[object, ...]] = [("rule", "decision", "n", "followed before", "after", "p")]
    for row in read_norm_compliance(reading):
        after = ("", "") if row.after is None else (row.after, "" if row.p is None else f"{row.p:.2g}")
        rows.append((row.text[:80], "holds" if row.holds else "taken back", row.n, row.before, *after))
    return "What people decided, on prompts that no row is made of", rows, (2, 3, 4, 5)


def _iteration_table(reading: RunReader, summary: RunSummary) -> Table:
    names = ("probed", "failures", "revisions", "kept", "rows")
    rows: list[tuple[object, ...]] = [("", *names, "decision")]
    for folder in reading.iterations:
        found = summarise_iteration(reading, folder)
        decision = found.decision or found.clean
        said = (
            f"{metric_name(decision.action)}: {decision.reason}" if decision else "-" if summary.head else "under way"
        )
        rows.append((folder, *(found.counts[name] for name in names), said))
    return "Iterations", rows, range(6)


def _call_table(reading: RunReader, summary: RunSummary) -> Table:
    rows: list[tuple[object, ...]] = [("purpose", "for", "role", "calls", "tokens in", "tokens out")]
    groups: dict[tuple[str, str, str], list[int]] = {}
    for cost in read_costs(reading):
        if cost.purpose != "target":
            sums = groups.setdefault((cost.purpose, cost.use, cost.role), [0, 0, 0])
            for place, count in enumerate((cost.calls, cost.tokens_in, cost.tokens_out)):
                sums[place] += count
    rows += [(*key, *(f"{count:,}" for count in sums)) for key, sums in sorted(groups.items())]
    total = f"{summary.oracle['calls']} for aligning, {summary.oracle['calls_measuring']} for measuring"
    return f"Oracle calls: {total}; {summary.seconds:.1f} s of work", rows, (3, 4, 5)


def _share_text(score: Score | None) -> str:
    if score is None or score.value is None or score.low is None or score.high is None:
        return "-"
    return f"{score.value:.1%} ({100 * score.low:.1f} to {100 * score.high:.1f})"


def _efficacy_text(efficacy: Efficacy | None) -> str:
    if efficacy is None or not efficacy.n:
        return "not measured"
    return f"{efficacy.passed_with}/{efficacy.n}, without {efficacy.passed_without}"


def _significance_text(efficacy: Efficacy | None) -> str:
    if efficacy is None:
        return "-"
    share = "" if efficacy.difference is None else f" ({efficacy.difference:+.0%})"
    return f"{efficacy.judgement}{share}"
