"""Every score of a run as one table, for a spreadsheet or a notebook."""

from __future__ import annotations

import csv
import io

from charter.nouns import Score
from charter.reports.reading import Reading
from charter.reports.threads import Threads
from charter.statistics import Cell

COLUMNS = (
    *("run", "folder", "split", "metric", "by", "group", "value", "n", "low", "high", "unjudged", "better"),
    *("benchmark", "version"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(reading: Reading) -> tuple[str, int]:
    """The table with its head, and how many rows it has. ``value``, ``low`` and ``high`` are shares (0 to 1) with their
    95 % Wilson interval, empty where nothing was judged; ``by`` and ``group`` are empty for whole splits. A text that a
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
            words = (score.better, score.benchmark, score.version)
            table.writerow(
                [*map(_plain, (reading.name, folder, split, *texts)), *map(_figure, figures), *map(_plain, words)]
            )
            count += 1
    return out.getvalue(), count


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _figure(value: float | None) -> str:
    return "" if value is None else repr(value)
