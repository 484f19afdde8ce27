"""The evidence of the methods that begin with rules: what its controls are, and a real kill of a real run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from evidence import cells, ruled, tables

from charter.constitution import document as articles

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not os.environ.get("CHARTER_FULL"), reason="whole runs on the organism: CHARTER_FULL=1")
def test_a_kill_leaves_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = {"prompts.heldout": "1", "prompts.gate": "1", "options.draw.batch": "16", "options.replay.fresh": "4"}
    for module in (cells, ruled):
        monkeypatch.setattr(module, "RUNS", tmp_path)
    monkeypatch.setattr(ruled, "TINY", tiny | {"options.tune.epochs": "1", "options.gates.roll_back": "false"})
    made = ruled.kill("self_align", "001/reasoned")
    assert (made["killed"], made["resumed"], made["verified"], made["same run"]) == (True, True, True, True)
    assert ruled.kill("self_align", "001/reasoned") == made, "what was measured is read"


def test_controls_are_rules_about_other_things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ruled, "RUNS", tmp_path)
    given = ruled.controls()
    assert given["none"] == "none"
    other, swapped = (
        {p.title for p in articles.read_constitution(Path(given[name])).active} for name in ("other", "swapped")
    )
    assert {"forgery", "home"} <= other
    assert not {"hacking", "colour"} & (other | swapped)
    assert "fishing" in swapped


def test_a_table_tells_what_a_run_was_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "RUNS", tmp_path)
    cell = cells.Cell("one", "cai")
    (tmp_path / "one" / "001").mkdir(parents=True)
    (tmp_path / "one" / "001" / "kept.jsonl").write_text('{"kept": true}\n{"kept": false}\n', encoding="utf-8")
    of = {"shares": {"helpful": 0.75, "revision": 0.25}, "dropped": {"empty": 2}, "lines": {"in all": 15}}
    row = {"name": "one", "calls": 7, "seconds": 1.5} | ruled.told(cell, {"ruled": of})
    kill = {"at": "001/policy", "killed": True, "same run": False}
    table = tables._ruled({"rows": [row], "kills": [kill]})
    assert "| 15 | 1 of 2 | empty 2 | helpful 75 %, revision 25 % | 7 | 1.5 |" in table
    assert "| 001/policy | yes | no |" in table
