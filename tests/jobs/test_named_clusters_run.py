"""A run whose proposer names its clusters: the names are kept, and shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from charter import jobs
from charter.cli.show_commands import print_summary
from charter.records.verdicts import Cluster, ClusterTheme
from charter.reports.integrity import verify_run
from charter.reports.page import render_page
from charter.runs.reader import RunReader

pytestmark = pytest.mark.slow


def test_names_and_joins_are_kept_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = {
        "world": "village",
        "method": "red_team",
        "parquet_above_mb": 0,
        "prompts": {"gate": 2, "heldout": 2},
        "target": {"device": "cpu"},
        "options": {"draw": {"batch": 48}, "cluster": {"names": True}},
        "proposer": {"model": "python:tests.fakes.scripted_judge:proposer"},
    }
    jobs.launch_run(yaml.safe_dump(spec), tmp_path / "run")
    run = RunReader(tmp_path / "run")
    before, after = (run.records(f"001/{step}", Cluster) for step in ("clusters", "named_clusters"))
    themes = run.records("001/themes", ClusterTheme)
    assert len(before) > 2
    assert len(after) == len(themes) == len(before) - 1
    joined = next(theme for theme in themes if len(theme.clusters) == 2)
    assert (joined.name, joined.why) == ("both", "a hash says so")
    assert {f.id for c in before for f in (*c.shown, *c.hidden)} == {f.id for c in after for f in (*c.shown, *c.hidden)}
    assert sum(e["calls"] for e in run.events if e["event"] == "asked" and e["role"] == "proposer") == 1
    page = render_page(tmp_path / "run")
    assert "Failures by theme" in page
    assert "&lt;b&gt;kind 3&lt;/b&gt;" in page
    assert "<b>kind" not in page
    print_summary(tmp_path / "run", quiet=False, as_json=False)
    assert "both" in capsys.readouterr().out
    assert verify_run(tmp_path / "run").ok
    assert (tmp_path / "run/001/exchanges.parquet").exists()
    assert not list((tmp_path / "run/001").glob("*.jsonl"))
