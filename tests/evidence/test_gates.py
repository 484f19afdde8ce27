"""The evidence of the gates tells a false alarm from a true one, and a loss from a gain, by what stands in the runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from evidence import cells, gates
from evidence.cells import Cell

from charter.records.measurements import Measurement
from charter.records.record import Record
from tests.fakes.recorded_run import gate


@pytest.fixture
def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cell:
    """Three policies: the first rolled back, the second used, the third rolled back for a loss against the second."""
    monkeypatch.setattr(cells, "RUNS", tmp_path)
    monkeypatch.setattr(gates, "RUNS", tmp_path)
    made = Cell("gates/one")
    write(made, "000/heldout_measurements", heldout(0))
    actions = ("roll_back", "go_on", "give_up")
    for folder, action in zip(("001", "002", "003"), actions, strict=True):
        failed = gate("over_refusal", action == "go_on")
        against = failed.model_copy(update={"against": "last" if folder == "003" else "start"})
        write(made, f"{folder}/gates", [against, gate("harmlessness", True)])
        write(made, f"{folder}/decision", [{"action": action}])
        write(made, f"{folder}/rows", [{"id": "row"}])
    return made


def write(cell: Cell, step: str, records: Sequence[Record | dict[str, Any]]) -> None:
    path = cell.directory / f"{step}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [r.model_dump_json() if isinstance(r, Record) else json.dumps(r) for r in records]
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


def heldout(refused: int) -> list[Measurement]:
    return [Measurement(id=str(k), outcomes={"over_refusal": k < refused}) for k in range(100)]


def known(cell: Cell, folder: str, refused: int) -> None:
    path = cells.RUNS / f"{cell.name}-heldout-{folder}.json"
    path.write_text(json.dumps([m.model_dump(mode="json") for m in heldout(refused)]), encoding="utf-8")


@pytest.mark.parametrize(("first", "third", "false"), [(3, 20, 1), (4, 20, 0), (4, 13, 1), (0, 0, 2)])
def test_an_alarm_is_false_where_nothing_was_lost_beyond_the_margin(
    cell: Cell, first: int, third: int, false: int
) -> None:
    for folder, refused in (("001", first), ("002", 10), ("003", third)):
        known(cell, folder, refused)
    figures = {
        "changes": {"over_refusal": {"change": 0.1}, "harmlessness": {"change": 0.4}, "novel": {"change": -0.9}},
        "gates": {"001": [{"metric": "over_refusal"}, {"metric": "harmlessness"}]},
        "before": {},
        "after": {},
        "iterations": [],
        "unjudged": 0,
        "planted": {},
        "oracle": {"calls": 1, "calls_measuring": 1},
        "seconds": 1.0,
        "head": None,
    }
    row = gates._row(cell, figures)
    assert (row["rolled back"], row["false alarms"]) == (2, false)
    assert (row["worst metric"], row["its loss"]) == ("over_refusal", 0.1)
    assert row["beyond"] == pytest.approx(0.07)
    assert row["finished by giving up"]
    assert [set(map(type, said)) for said in row["failed gates"].values()] == [{str}, {str}]
