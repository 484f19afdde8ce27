"""Reviews whose processes are really killed, and four raters at once: what was acknowledged is there, once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def play(what: str, folder: Path) -> Any:
    command = [sys.executable, "-m", "tests.fakes.killed_reviews", what, str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout)


@pytest.mark.parametrize(("what", "least"), [("rate", 12), ("create", 25)])
def test_a_kill_at_any_moment_loses_nothing(what: str, least: int, tmp_path: Path) -> None:
    found = play(what, tmp_path)
    assert found["wrong"] == []
    assert found["moments"] >= least
    assert found["kills"] >= 2 * least


def test_four_raters_at_once_with_a_kill_among_them(tmp_path: Path) -> None:
    found = play("race", tmp_path)
    assert found["wrong"] == []
    assert (found["items"], found["raters"]) == (30, [2])
    assert found["ended"] == {"ada": -9, "bo": 0, "cy": 0, "di": 0, "again": 0}
    assert min(found["shares"].values()) > 0
