"""The generated parts of the pages: ``python -m docs`` renews them, and a test compares them.

A part stands between ``<!-- generated:NAME -->`` and ``<!-- /generated -->``. Tables of evidence have marks of their
own; ``python -m evidence tables`` fills them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

ROOT = Path(__file__).resolve().parent.parent
MARK = re.compile(r"(<!-- generated:([a-z-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)

_NOT_PROSE = re.compile(
    r"<!-- (?:evidence|generated):[\w-]+ -->.*?<!-- /\w+ -->|^ *```.*?^ *```$|<!--.*?-->"
    r"|^\|[^\n]*$|^#[^\n]*$|^!\[[^\n]*$",
    re.DOTALL | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?:;])[*)`\"]*\s+(?=[A-Z`\[*(\"0-9])")


def pages() -> list[Path]:
    """Every page: those in the root, and those in docs/."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def filled(text: str, parts: Mapping[str, str]) -> str:
    """A page with its marked parts made anew. Raises KeyError where a mark names no part."""
    return MARK.sub(lambda found: f"{found[1]}{parts[found[2]].strip()}\n{found[3]}", text)


def generated() -> dict[str, str]:
    """Every generated part by name."""
    return {"cli": _cli(), "spec": _spec(), "switches": _switches()}


def _cli() -> str:
    from charter.cli.reference import render_reference

    return render_reference()


def _spec() -> str:
    from charter.cli.init import commented_spec

    return f"```yaml\n{commented_spec().strip()}\n```"


def _switches() -> str:
    """Every switch in which the two recipes differ, with both values."""
    from charter.spec import list_recipes, read_spec

    ours, paper = (dict(leaves(read_spec(list_recipes()[name])[0])) for name in ("iteralign", "iteralign-paper"))
    rows = [f"| `{key}` | `{ours[key]}` | `{paper[key]}` |" for key in ours if ours[key] != paper.get(key)]
    return "\n".join(["| switch | `iteralign` | `iteralign-paper` |", "|---|---|---|", *rows])


def sentences(text: str) -> list[str]:
    """The sentences of a page's prose: without code blocks, tables, headings, HTML comments and generated parts."""
    prose = _NOT_PROSE.sub("\n\n", text)
    paragraphs = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", re.sub(r"\]\([^)]*\)", "]", prose))
    lines = [re.sub(r"^\s*(?:[-*]|\d+\.) ", "", " ".join(paragraph.split())) for paragraph in paragraphs]
    return [found for line in lines for found in _SENTENCE_END.split(line) if found]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Key path and value of everything in a record that is not itself a record."""
    if not isinstance(value, BaseModel):
        yield path, list(value) if isinstance(value, tuple) else value
        return
    for name in type(value).model_fields:
        yield from leaves(getattr(value, name), f"{path}.{name}" if path else name)
