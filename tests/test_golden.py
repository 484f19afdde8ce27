"""Every method on the organism at small n says what it said before: a change of names and places changes no result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charter.records.step_names import is_declared
from charter.runs.reader import RunReader
from tests import golden

KEPT: dict[str, Any] = json.loads(golden.FILE.read_text(encoding="utf-8"))


def compare(name: str, run: Path) -> None:
    undeclared = [step for step in RunReader(run).steps if not is_declared(step.rpartition("/")[2])]
    assert undeclared == [], "charter/records/step_names.py lists every step"
    said, kept = golden.digests(golden.substance(run)), KEPT["runs"][name]
    if KEPT["machine"] == golden.machine():
        for key in kept:
            assert said[key] == kept[key], f"{name}: {key}"
    else:  # processors that round otherwise: what was decided, and how much was said, stay
        assert said["decisions"] == kept["decisions"]
        assert said["outcome"] == kept["outcome"]
        assert len(said["tensors"]) == len(kept["tensors"])
    assert golden.digests(golden.substance(run) | {"decisions": [["stop", ""]]}) != said, "the comparison can fail"


@pytest.mark.parametrize("name", golden.RUNS)
def test_a_method_says_what_it_said(name: str, golden_run: Callable[[str], Path]) -> None:
    compare(name, golden_run(name))


def test_an_audit_says_what_it_said(golden_run: Callable[[str], Path], tmp_path: Path) -> None:
    golden.play_audit(golden_run("iteralign"), tmp_path / "audit")
    compare("audit", tmp_path / "audit")
