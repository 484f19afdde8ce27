"""Studios that are really killed while they take down votes and labels: what was acknowledged is there, once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_a_kill_at_any_moment_loses_no_vote_and_no_label(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fakes.killed_studio", str(tmp_path)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout)
    assert found["wrong"] == []
    assert found["moments"] >= 12
    assert found["kills"] > 2 * found["moments"]
