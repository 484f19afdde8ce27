"""Real signals at every kind of moment: the run goes on to the same end. CHARTER_FULL=1 sends 200 of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("signal", "n"), [("KILL", 40), ("INT", 20)])
def test_a_disturbed_run_ends_like_one_left_in_peace(signal: str, n: int, tmp_path: Path) -> None:
    n = 200 if os.environ.get("CHARTER_FULL") else n
    done = subprocess.run(
        [sys.executable, "-m", "tests.fakes.killed_runs", str(tmp_path), str(n), signal],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["wrong"] == []
    assert result["peace_ok"]
    assert result["runs"] == n
    assert result["signals"] >= n  # every run is hit at least once
