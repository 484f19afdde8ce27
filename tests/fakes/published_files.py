"""Where the real files of published prompt sets lie, for tests that read them. They are no part of the project.

``CHARTER_TEST_DATA`` names the folder; without it, ``shared/data`` beside the project is used where it exists, and the
tests that need it are skipped where it does not. With it, nothing is skipped.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CHARTER_TEST_DATA") or ROOT.parent / "shared" / "data").resolve()
FIXTURES = ROOT / "tests" / "fixtures" / "published"

needs_data = pytest.mark.skipif(
    "CHARTER_TEST_DATA" not in os.environ and not DATA.is_dir(),
    reason="the published files are not here: set CHARTER_TEST_DATA",
)
