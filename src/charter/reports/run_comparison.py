"""``charter compare``: runs side by side, and two runs on the same held-out prompts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from charter.errors import SpecError
from charter.records.record import Record
from charter.reports.costs import read_human_lines
from charter.reports.paired_tests import PairedChange, compare_final
from charter.reports.preference_report import MONITOR_FIGURES
from charter.reports.run_summary import SHOWN_METRICS, RunSummary, summarise_reading
from charter.runs.reader import RunReader, read_runs

MIN_FALL = 0.05
"""A log-probability that is lower by less, in nats, has not fallen."""
METRIC_NAMES = {
    "kl": "nats an answer from the start",
    "chosen": "log-probability of chosen answers",
    "rejected": "log-probability of rejected answers",
    "length": "words of a gate answer",
    "refusals": "share of refusals on gate",
    "good": "share of good gate answers",
}


class RunContest(Record):
    """Two runs (by place in the comparison), metric by metric, on the prompts that both answered."""

    first: int
    second: int
    pairings: tuple[PairedChange, ...]


class RunComparison(Record):
    """``names`` are the shortest that tell the runs apart; ``contests`` only where the held-out sets are the same;
    ``lines`` that people wrote for each run."""

    names: tuple[str, ...]
    runs: tuple[RunSummary, ...]
    contests: tuple[RunContest, ...]
    lines: tuple[int, ...]


def compare_runs(directories: Sequence[Path | str]) -> RunComparison:
    """Raises StoreError, DamagedError, SpecError."""
    read = read_runs(directories)
    refuse_audits(read)
    contests = []
    for first, second in combinations(range(len(read)), 2):
        if found := compare_final(read[first], read[second]):
            contests.append(RunContest(first=first, second=second, pairings=tuple(found.values())))
    return RunComparison(
        names=_shortest_names(read),
        runs=tuple(summarise_reading(r) for r in read),
        contests=tuple(contests),
        lines=tuple(map(read_human_lines, read)),
    )


def refuse_audits(read: Sequence[RunReader]) -> None:
    """Raises SpecError where one is an audit: it aligns nothing, and has a comparison of its own."""
    if audits := [r.directory for r in read if r.spec.method == "audit"]:
        raise SpecError(f"{audits[0]} is an audit", cure="To compare with it: charter audit MODEL --baseline AUDIT")


def comparison_rows(comparison: RunComparison) -> list[tuple[str, ...]]:
    """Header, then a row for each figure: its name, then one cell for each run."""
    rows: list[tuple[str, ...]] = [("", *comparison.names)]
    for name in SHOWN_METRICS:
        rows.append((f"{metric_name(name)}, before", *(share_text(run.before[name]) for run in comparison.runs)))
        rows.append((f"{metric_name(name)}, after", *(share_text(run.after[name]) for run in comparison.runs)))
        rows.append(
            (f"{metric_name(name)}, change in points", *(_before_after_text(run, name) for run in comparison.runs))
        )
    counts = {
        "planted flaws discovered": [
            _fraction_text(run.planted["discovered"], run.planted["flaws"]) for run in comparison.runs
        ],
        "principles": [str(len(run.constitution["principles"])) for run in comparison.runs],
        "policies scored on gate": [str(len(run.iterations)) for run in comparison.runs],
        "oracle calls, aligning": [str(run.oracle["calls"]) for run in comparison.runs],
        "oracle calls, measuring": [str(run.oracle["calls_measuring"]) for run in comparison.runs],
        "oracle tokens": [f"{run.oracle['tokens_in'] + run.oracle['tokens_out']:,}" for run in comparison.runs],
        "lines that people wrote": [str(lines) for lines in comparison.lines],
        "unjudged": [str(run.unjudged) for run in comparison.runs],
        "seconds": [f"{run.seconds:.1f}" for run in comparison.runs],
        "finished": ["yes" if run.head else "no" for run in comparison.runs],
    }
    return rows + [(name, *cells) for name, cells in counts.items()] + monitor_rows(comparison)


def monitor_rows(comparison: RunComparison) -> list[tuple[str, ...]]:
    """What was watched in learning from preferences: at the start, and in the policy that stayed or the last one that
    was tried and rolled back; a log-probability of chosen answers that fell is said to have fallen. None where no run
    learnt from them."""
    runs = [run.learning for run in comparison.runs]
    if not any(runs):
        return []
    rows: list[tuple[str, ...]] = []
    for name in MONITOR_FIGURES:
        cells = []
        for found in runs:
            tried = [at for at in (found or {"policies": {}})["policies"] if at != "000"]
            last = (found or {}).get("used") if (found or {}).get("used") != "000" or not tried else tried[-1]
            one, other = (found["policies"][at][name] if found else None for at in ("000", last))
            fell = name == "chosen" and one is not None and other is not None and other < one - MIN_FALL
            taken = "" if not found or last == found["used"] else ", rolled back"
            said = f"{_number_text(one)} to {_number_text(other)}{', fell' if fell else ''}{taken}"
            cells.append(said if found else "-")
        rows.append((f"{METRIC_NAMES.get(name, name)}, start to end", *cells))
    return rows


def contest_rows(comparison: RunComparison) -> list[tuple[str, ...]]:
    """Header, then a row for each pair of runs and metric."""
    head = ("pair", "metric", "n", "only the first", "only the second", "change", "p", "p (Holm)", "n can show")
    rows: list[tuple[str, ...]] = [head]
    for contest in comparison.contests:
        pair = f"{comparison.names[contest.first]} / {comparison.names[contest.second]}"
        for p in contest.pairings:
            seen = (str(p.n), str(p.lost), str(p.gained), change_text(p), f"{p.p:.3g}", f"{p.p_holm:.3g}")
            rows.append((pair, metric_name(p.metric), *seen, detectable_text(p)))
    return rows


def comparison_markdown(comparison: RunComparison) -> str:
    """Both tables in Markdown."""
    tables = [comparison_rows(comparison)] + ([contest_rows(comparison)] if comparison.contests else [])
    return "\n".join("\n".join(markdown_table_lines(rows)) + "\n" for rows in tables)


def metric_name(metric: str) -> str:
    """A metric's name in words."""
    return metric.replace("_", " ")


def share_text(figure: dict[str, int | float | None]) -> str:
    """A share with its interval, in percent, its n, and what the unjudged leave open; a dash where it is unknown."""
    if figure["value"] is None or figure["low"] is None or figure["high"] is None:
        return "-"
    said = f"{figure['value']:.1%} ({figure['low']:.1%} to {figure['high']:.1%}), n {figure['n']}"
    return said + (
        f"; {figure['unjudged']} unjudged: {figure['least']:.1%} to {figure['most']:.1%}" if figure["unjudged"] else ""
    )


def change_text(pair: PairedChange) -> str:
    """The change of a share in points, with its 95 % interval."""
    return f"{100 * pair.change:+.1f} ({100 * pair.low:+.1f} to {100 * pair.high:+.1f})"


def signed_points(figure: float | None) -> str:
    """A change in points, with its sign; a dash where it is unknown."""
    return "–" if figure is None else f"{100 * figure:+.1f}"


def detectable_text(pair: PairedChange) -> str:
    """The smallest change that n pairs can show, in points."""
    return "none" if pair.detectable is None else f"{100 * pair.detectable:.1f}"


def markdown_table_lines(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The lines of a Markdown table; the first row is its head."""
    cells = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [cells[0], "|" + " --- |" * len(rows[0]), *cells[1:]]


def _number_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _before_after_text(run: RunSummary, metric: str) -> str:
    """From before to after, with what n can show; a dash while either is missing."""
    if metric not in run.changes:
        return "-"
    pair = PairedChange.model_validate(run.changes[metric])
    return f"{change_text(pair)}, p {pair.p_holm:.2g}; n can show {detectable_text(pair)}"


def _fraction_text(part: int | None, whole: int | None) -> str:
    return "-" if part is None or whole is None else f"{part} of {whole}"


def _shortest_names(read: Sequence[RunReader]) -> tuple[str, ...]:
    names = [r.name for r in read]
    return tuple(names if len(set(names)) == len(names) else [str(r.directory) for r in read])
