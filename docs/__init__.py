"""The generated parts of the pages: ``python -m docs`` renews them, and a test compares them.

A part stands between ``<!-- generated:NAME -->`` and ``<!-- end:NAME -->``; tables of evidence stand between
``<!-- evidence:NAME -->`` and ``<!-- end:NAME -->`` and are filled by ``python -m evidence tables``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

ROOT = Path(__file__).resolve().parent.parent


def pages() -> list[Path]:
    """Every page: those in the root, and those in docs/."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def fill(text: str, parts: Mapping[str, str], kind: str = "generated") -> str:
    """A page with its marked parts replaced; parts that are not given stay. Raises ValueError where an end is missing."""
    for name in re.findall(rf"^<!-- {kind}:([\w-]+) -->$", text, re.MULTILINE):
        start, end = f"<!-- {kind}:{name} -->", f"<!-- end:{name} -->"
        if end not in text:
            raise ValueError(f"{start} has no {end}")
        if name in parts:
            before, rest = text.split(start, 1)
            after = rest.split(end, 1)[1]
            body = parts[name].strip()
            text = f"{before}{start}\n{body}\n{end}{after}" if body else f"{before}{start}\n{end}{after}"
    return text


def generated() -> dict[str, str]:
    """Every generated part by name."""
    return {"cli": _cli(), "spec": _spec(), "switches": _switches()}


def _cli() -> str:
    from charter.cli.reference import reference

    return reference()


def _spec() -> str:
    from charter.cli.init import commented

    return f"```yaml\n{commented().strip()}\n```"


def _switches() -> str:
    """Every switch in which the two recipes differ, with both values."""
    from charter.spec import read, recipes

    ours, paper = (dict(leaves(read(recipes()[name])[0])) for name in ("iteralign", "iteralign-paper"))
    rows = [f"| `{key}` | `{ours[key]}` | `{paper[key]}` |" for key in ours if ours[key] != paper.get(key)]
    return "\n".join(["| switch | `iteralign` | `iteralign-paper` |", "|---|---|---|", *rows])


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Key path and value of everything in a record that is not itself a record."""
    if not isinstance(value, BaseModel):
        yield path, list(value) if isinstance(value, tuple) else value
        return
    for name in type(value).model_fields:
        yield from leaves(getattr(value, name), f"{path}.{name}" if path else name)
