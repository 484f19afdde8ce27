"""``python -m docs.release_notes TAG FILE``: writes what the changelog says of a version, and refuses a tag that does
not fit the package's version or that the changelog does not know."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from docs import ROOT


def read_notes(changelog: str, version: str) -> str:
    """The section of a version, without its heading. Raises ValueError where there is none."""
    found = re.search(rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## \[|\Z)", changelog, re.DOTALL | re.MULTILINE)
    if found is None or not found[1].strip():
        raise ValueError(f"CHANGELOG.md has no section [{version}]: give [Unreleased] this name and today's date")
    return found[1].strip() + "\n"


def main(words: list[str]) -> int:
    """Writes the notes. An empty tag stands for the package's own version."""
    tag, file = words
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if tag and tag != f"v{version}":
        print(f"the tag is {tag}, and pyproject.toml has version {version}: make them fit", file=sys.stderr)
        return 2
    try:
        notes = read_notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(notes, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
