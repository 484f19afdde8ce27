"""Held-out scores by category, language, source and attack style, and on what training never saw."""

from __future__ import annotations

from typing import Any

from charter.records.measurements import Score
from charter.reports.paired_tests import FINAL_STEP, START_STEP
from charter.runs.reader import RunReader
from charter.statistics import BreakdownCell

NOVEL = "novel_"
"""Metrics on prompts of a kind that training never saw begin with this."""


def read_cells(reading: RunReader) -> dict[str, list[dict[str, Any]]]:
    """The breakdown ``before`` and ``after``: each cell with its own n and interval, ``few`` where n < 10."""
    sides = {"before": START_STEP, "after": FINAL_STEP}
    kept = {"benchmark", "version", "id"}
    return {
        side: [
            c.model_dump(exclude=kept) | {"few": c.is_small}
            for c in reading.records(f"{step}_breakdown", BreakdownCell)
        ]
        for side, step in sides.items()
    }


def read_generalisation(reading: RunReader) -> dict[str, Any]:
    """Scores on what training never saw (``kept_out``: what the spec names), before and after; empty where there is
    none. A metric's name is that of the same metric on all other prompts."""
    keys = ("value", "n", "low", "high")

    def novel(scores: dict[str, Score]) -> dict[str, dict[str, Any]]:
        return {
            name.removeprefix(NOVEL): {key: getattr(score, key) for key in keys}
            for name, score in scores.items()
            if name.startswith(NOVEL)
        }

    before, after = novel(reading.scores(f"{START_STEP}_scores")), novel(reading.scores(f"{FINAL_STEP}_scores"))
    asked = {key: name or None for key, name in reading.spec.prompts.keep_out}
    return {"kept_out": asked, "before": before, "after": after} if before or after else {}


def breakdown_rows(reading: RunReader) -> dict[str, list[dict[str, Any]]]:
    """For a table: property -> a row for each group and metric with ``before`` and ``after``. Properties of which there
    is but one group say nothing and are left out."""
    found: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    for side, step in (("before", START_STEP), ("after", FINAL_STEP)):
        for cell in reading.records(f"{step}_breakdown", BreakdownCell):
            row = found.setdefault(cell.by, {}).setdefault((cell.metric, cell.group), {"before": None, "after": None})
            row |= {"group": cell.group, "metric": cell.metric, side: cell}
    return {
        by: [row for _, row in sorted(table.items())]
        for by, table in found.items()
        if len({group for _, group in table}) > 1
    }
