"""A run's tables for the terminal: (title, rows with their head, columns of numbers)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from charter.gating import Alarm, Gate
from charter.nouns import Efficacy, Score
from charter.reports.audit import audited
from charter.reports.audit_tables import rows as audit_rows
from charter.reports.benchmarked import benchmark_tables
from charter.reports.compare import changed, shows, signed, spoken
from charter.reports.costs import costs
from charter.reports.judging import calibration, trust
from charter.reports.measured import judging_tables
from charter.reports.norms import followed
from charter.reports.paired import FINAL, START, before_after
from charter.reports.reading import Reading
from charter.reports.show import Summary, left_open
from charter.reports.stories import iteration
from charter.reports.written import written_tables, yields

Table = tuple[str, list[tuple[object, ...]], Sequence[int]]


def tables(reading: Reading, summary: Summary) -> Iterator[Table]:
    """Scores, judging, rules, iterations and calls; those without a row are left out."""
    judging: list[Table] = [
        (title, [*rows], ()) for title, rows in judging_tables(trust(reading), calibration(reading))
    ]
    audit = audited(reading)
    benchmarks: list[Table] = [(title, [*rows], ()) for title, rows in benchmark_tables(reading)]
    written: list[Table] = [(title, [*rows], (1, 2)) for title, rows in written_tables(yields(reading))]
    found: list[Table] = [
        ("Audit: both sides on the same prompts", [*(audit_rows(audit) if audit else [])], ()),
        _scores(reading),
        *benchmarks,
        *judging,
        *written,
        _rules(reading),
        _used(summary),
        _norms(reading),
        _iterations(reading, summary),
        _gates(reading),
        _alarms(reading),
        _calls(reading, summary),
    ]
    yield from (table for table in found if len(table[1]) > 1)


def _scores(reading: Reading) -> Table:
    before, after = reading.scores(f"{START}_scores"), reading.scores(f"{FINAL}_scores")
    pairs = before_after(reading)
    rows: list[tuple[object, ...]] = [
        ("metric", "before", "after", "n", "unjudged", "+/-", "change", "p, Holm", "n can show")
    ]
    for name in dict.fromkeys([*before, *after]):
        score = after.get(name) or before[name]
        pair = pairs.get(name)
        label = f"{spoken(name)}{' ↓' if score.better == 'lower' else ''}"
        moved = ("",) * 4
        if pair:
            ps = f"{pair.p:.2g}, {pair.p_holm:.2g}"
            moved = (f"{pair.gained}/{pair.lost}", changed(pair), ps, shows(pair))
        least, most = left_open(score)
        unjudged = f"{score.unjudged}: {least:.1%} to {most:.1%}" if score.unjudged else "0"
        rows.append((label, _share(before.get(name)), _share(after.get(name)), score.n, unjudged, *moved))
    return (
        "Held-out, with 95 % intervals (↓: lower is better; unjudged, and what they leave open; +/-: prompts that "
        "changed; change in points; p: exact McNemar, alone and corrected over the metrics; n can show: the smallest "
        "change that n pairs show four times in five)",
        rows,
        range(1, 9),
    )


def _used(summary: Summary) -> Table:
    """Rules by use, with what people wrote, in a run of a method that begins with rules."""
    if summary.ruled is None:
        return "", [], ()
    of = summary.ruled
    rows: list[tuple[object, ...]] = [("what", "count"), *((f"lines by people: {k}", n) for k, n in of.lines.items())]
    rows += [(f"dropped: {reason}", n) for reason, n in of.dropped.items()]
    rows += [(f"rule used: {rule.title}", rule.times) for rule in of.rules]
    return "What people wrote, and how often each rule was used", rows, (1,)


def _gates(reading: Reading) -> Table:
    """Those that failed; of the others how many there were (the report and ``--json`` have them all)."""
    head = ("", "gate", "against", "n", "worse/better", "change", "bound", "margin", "can fail at")
    rows: list[tuple[object, ...]] = [head]
    for folder in reading.iterations:
        gates = reading.records(f"{folder}/gates", Gate)
        for gate in (gate for gate in gates if not gate.passed):
            points = map(signed, (gate.change, gate.bound, -gate.margin, gate.detectable and -gate.detectable))
            rows.append(
                (folder, f"{spoken(gate.metric)} failed", gate.against, gate.n, f"{gate.worse}/{gate.better}", *points)
            )
        if passed := sum(gate.passed for gate in gates):
            rows.append((folder, f"{passed} of {len(gates)} passed", *("",) * 7))
    return (
        "Gates, in points (minus: worse): one fails where the bound, the upper end of the change, is beyond the "
        "margin. Four times in five it fails where the true loss is as in the last column",
        rows,
        range(3, 9),
    )


def _alarms(reading: Reading) -> Table:
    rows: list[tuple[object, ...]] = [("", "alarm")]
    for folder in reading.iterations:
        rows += [(folder, alarm.reason) for alarm in reading.records(f"{folder}/alarms", Alarm)]
    return "Alarms", rows, ()


def _rules(reading: Reading) -> Table:
    rows: list[tuple[object, ...]] = [("id", "rule", "status", "mends", "efficacy", "causes")]
    for p in reading.constitution.principles:
        rows.append(
            (p.id, p.title or p.text[:80], p.status, _mends(p.efficacy), _judgement(p.efficacy), len(p.because))
        )
    return (
        f"Constitution, version {reading.constitution.version}, measured on failures that no proposer saw",
        rows,
        (5,),
    )


def _norms(reading: Reading) -> Table:
    rows: list[tuple[object, ...]] = [("rule", "decision", "n", "followed before", "after", "p")]
    for row in followed(reading):
        after = ("", "") if row.after is None else (row.after, "" if row.p is None else f"{row.p:.2g}")
        rows.append((row.text[:80], "holds" if row.holds else "taken back", row.n, row.before, *after))
    return "What people decided, on prompts that no row is made of", rows, (2, 3, 4, 5)


def _iterations(reading: Reading, summary: Summary) -> Table:
    names = ("probed", "failures", "revisions", "kept", "rows")
    rows: list[tuple[object, ...]] = [("", *names, "decision")]
    for folder in reading.iterations:
        found = iteration(reading, folder)
        decision = found.decision or found.clean
        said = f"{spoken(decision.action)}: {decision.reason}" if decision else "-" if summary.head else "under way"
        rows.append((folder, *(found.counts[name] for name in names), said))
    return "Iterations", rows, range(6)


def _calls(reading: Reading, summary: Summary) -> Table:
    rows: list[tuple[object, ...]] = [("purpose", "for", "role", "calls", "tokens in", "tokens out")]
    groups: dict[tuple[str, str, str], list[int]] = {}
    for cost in costs(reading):
        if cost.purpose != "target":
            sums = groups.setdefault((cost.purpose, cost.use, cost.role), [0, 0, 0])
            for place, count in enumerate((cost.calls, cost.tokens_in, cost.tokens_out)):
                sums[place] += count
    rows += [(*key, *(f"{count:,}" for count in sums)) for key, sums in sorted(groups.items())]
    total = f"{summary.oracle['calls']} for aligning, {summary.oracle['calls_measuring']} for measuring"
    return f"Oracle calls: {total}; {summary.seconds:.1f} s of work", rows, (3, 4, 5)


def _share(score: Score | None) -> str:
    if score is None or score.value is None or score.low is None or score.high is None:
        return "-"
    return f"{score.value:.1%} ({100 * score.low:.1f} to {100 * score.high:.1f})"


def _mends(efficacy: Efficacy | None) -> str:
    if efficacy is None or not efficacy.n:
        return "not measured"
    return f"{efficacy.passed_with}/{efficacy.n}, without {efficacy.passed_without}"


def _judgement(efficacy: Efficacy | None) -> str:
    if efficacy is None:
        return "-"
    share = "" if efficacy.difference is None else f" ({efficacy.difference:+.0%})"
    return f"{efficacy.judgement}{share}"
