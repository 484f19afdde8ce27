"""Every score of a run as one table, for a spreadsheet or a notebook."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

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
TableRow = tuple[str | float | None, ...]


def list_scores(reading: RunReader) -> Iterator[TableRow]:
    """Every score, a row each with these ``COLUMNS``. ``value``, ``low`` and ``high``: a figure (0 to 1) with its 95 %
    interval, by Wilson or as ``interval`` says, None where nothing was judged; ``by`` and ``group`` are empty for
    whole splits; ``note`` is what must be said wherever the figure is shown. Of an audit its lines: ``before`` and
    ``after`` of each on the prompts that were judged on both sides, with what became of it as note."""
    graph = RunGraph(reading)
    for step, held in graph.step_types.items():
        folder, _, name = step.partition("/")
        split = name.removesuffix("_scores").removesuffix("_breakdown")
        if held == Score.__name__:
            for score in reading.records(step, Score):
                yield (reading.name, folder, split, score.id, "", "", *_figures(score))
        elif held == BreakdownCell.__name__:
            for cell in reading.records(step, BreakdownCell):
                yield (reading.name, folder, split, cell.metric, cell.by, cell.group, *_figures(cell))
    yield from _list_audit_lines(reading)


def scores_to_csv(reading: RunReader) -> tuple[str, int]:
    """The table with its head, and how many rows it has. A figure that is not known is empty; a text that a spreadsheet
    would take for a formula begins with an apostrophe."""
    out, count = io.StringIO(), 0
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in list_scores(reading):
        table.writerow([escape_formula(cell) if isinstance(cell, str) else _figure_text(cell) for cell in row])
        count += 1
    return out.getvalue(), count


def _figures(score: Score) -> TableRow:
    figures = (score.value, score.n, score.low, score.high, score.unjudged)
    return (*figures, score.better, score.benchmark, score.version, score.interval, score.note)


def _list_audit_lines(reading: RunReader) -> Iterator[TableRow]:
    """The lines of a finished audit, two rows each."""
    found = read_audit(reading)
    for line in found.lines if found else ():
        for side, share in (("before", line.before), ("after", line.after)):
            known = (share.low, share.high) if share.value is not None else (None, None)
            figures = (share.value, line.n, *known, line.unjudged)
            note = f"{line.state}: {line.state_text}"
            words = ("higher", f"battery {found.battery[:12]}" if found else "", "", "wilson", note)
            yield (reading.name, "audit", side, line.id, "", "", *figures, *words)


def _figure_text(value: float | None) -> str:
    return "" if value is None else repr(value)
