"""Every score of a run as one table, for a spreadsheet or a notebook."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from charter.nouns import Score
from charter.reports.audit import audited
from charter.reports.reading import Reading
from charter.reports.threads import Threads
from charter.statistics import Cell

COLUMNS = (
    *("run", "folder", "split", "metric", "by", "group", "value", "n", "low", "high", "unjudged", "better"),
    *("benchmark", "version", "interval", "note"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(reading: Reading) -> tuple[str, int]:
    """The table with its head, and how many rows it has. ``value``, ``low`` and ``high``: a figure (0 to 1) with its
    95 % interval, by Wilson or as ``interval`` says, empty where nothing was judged; ``by`` and ``group`` are empty for
    whole splits; ``note`` is what must be said wherever the figure is shown. Of an audit its lines: ``before`` and
    ``after`` of each on the prompts that were judged on both sides, with what became of it as note. A text that a
    spreadsheet would take for a formula begins with an apostrophe."""
    threads, out, count = Threads(reading), io.StringIO(), 0
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for step in threads.types:
        found: list[Score] = []
        if threads.types[step] == "Score":
            found = reading.records(step, Score)
        elif threads.types[step] == "Cell":
            found = [*reading.records(step, Cell)]
        folder, _, name = step.partition("/")
        split = name.removesuffix("_scores").removesuffix("_breakdown")
        for score in found:
            cell = score if isinstance(score, Cell) else None
            texts = (cell.metric, cell.by, cell.group) if cell else (score.id, "", "")
            figures = (score.value, score.n, score.low, score.high, score.unjudged)
            words = (score.better, score.benchmark, score.version, score.interval, score.note)
            table.writerow(
                [*map(_plain, (reading.name, folder, split, *texts)), *map(_figure, figures), *map(_plain, words)]
            )
            count += 1
    for row in _lines(reading):
        table.writerow(row)
        count += 1
    return out.getvalue(), count


def _lines(reading: Reading) -> Iterator[list[str]]:
    """The lines of a finished audit, two rows each."""
    found = audited(reading)
    for line in found.lines if found else ():
        for side, share in (("before", line.before), ("after", line.after)):
            known = (share.low, share.high) if share.value is not None else (None, None)
            figures = (share.value, line.n, *known, line.unjudged)
            note = f"{line.state}: {line.why}"
            texts = (reading.name, "audit", side, line.id, "", "")
            words = ("higher", f"battery {found.battery[:12]}" if found else "", "", "wilson", note)
            yield [*map(_plain, texts), *map(_figure, figures), *map(_plain, words)]


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _figure(value: float | None) -> str:
    return "" if value is None else repr(value)
