"""Every score of a run as one table, for a spreadsheet or a notebook."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from charter.records.measurements import Score
from charter.reports.audit_comparison import read_audit
from charter.reports.provenance import RunGraph
from charter.reports.spreadsheet_text import escape_formula
from charter.runs.reader import RunReader
from charter.statistics import BreakdownCell

COLUMNS = (
    *("run", "folder", "split", "metric", "by", "group", "value", "n", "low", "high", "unjudged", "better"),
    *("benchmark", "version", "interval", "note"),
)


def scores_to_csv(reading: RunReader) -> tuple[str, int]:
    """The table with its head, and how many rows it has. ``value``, ``low`` and ``high``: a figure (0 to 1) with its
    95 % interval, by Wilson or as ``interval`` says, empty where nothing was judged; ``by`` and ``group`` are empty for
    whole splits; ``note`` is what must be said wherever the figure is shown. Of an audit its lines: ``before`` and
    ``after`` of each on the prompts that were judged on both sides, with what became of it as note. A text that a
    spreadsheet would take for a formula begins with an apostrophe."""
    threads, out, count = RunGraph(reading), io.StringIO(), 0
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for step in threads.step_types:
        found: Sequence[Score] = ()
        if threads.step_types[step] == "Score":
            found = reading.records(step, Score)
        elif threads.step_types[step] == BreakdownCell.__name__:
            found = reading.records(step, BreakdownCell)
        folder, _, name = step.partition("/")
        split = name.removesuffix("_scores").removesuffix("_breakdown")
        for score in found:
            cell = score if isinstance(score, BreakdownCell) else None
            texts = (cell.metric, cell.by, cell.group) if cell else (score.id, "", "")
            figures = (score.value, score.n, score.low, score.high, score.unjudged)
            words = (score.better, score.benchmark, score.version, score.interval, score.note)
            table.writerow(
                [
                    *map(escape_formula, (reading.name, folder, split, *texts)),
                    *map(_figure_text, figures),
                    *map(escape_formula, words),
                ]
            )
            count += 1
    for row in _audit_rows(reading):
        table.writerow(row)
        count += 1
    return out.getvalue(), count


def _audit_rows(reading: RunReader) -> Iterator[list[str]]:
    """The lines of a finished audit, two rows each."""
    found = read_audit(reading)
    for line in found.lines if found else ():
        for side, share in (("before", line.before), ("after", line.after)):
            known = (share.low, share.high) if share.value is not None else (None, None)
            figures = (share.value, line.n, *known, line.unjudged)
            note = f"{line.state}: {line.state_text}"
            texts = (reading.name, "audit", side, line.id, "", "")
            words = ("higher", f"battery {found.battery[:12]}" if found else "", "", "wilson", note)
            yield [*map(escape_formula, texts), *map(_figure_text, figures), *map(escape_formula, words)]


def _figure_text(value: float | None) -> str:
    return "" if value is None else repr(value)
