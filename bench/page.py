"""Pages of figures: one section for each bench; writing one leaves the others as they are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "bench" / "RESULTS.md"


def put(section: str, page: Path = PAGE) -> None:
    """Writes a section, which begins with its heading, in the place of the one with the same heading, or at the end."""
    before = page.read_text(encoding="utf-8") if page.exists() else ""
    sections = {text.splitlines()[0]: text.strip() for text in re.split(r"^(?=# )", before, flags=re.M) if text.strip()}
    sections[section.splitlines()[0]] = section.strip()
    page.write_text("\n\n".join(sections.values()) + "\n", encoding="utf-8")
