"""Rules out of a document with headings: each section with words of its own is a rule, with its place in the document.

What OpenAI's Model Spec has beside them is known: ``{#anchor authority=level}`` after a heading, blocks of
commentary (``!!!``), examples, and notes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from charter.errors import SpecError

_MARKS = re.compile(r"\s*\{([^{}]*)\}\s*$")
_NOTE = re.compile(r"\[\^[^\]]*\]")
_EXAMPLE = re.compile(r"\*\*(?:Counter)?[Ee]xamples?\b.*")


@dataclass(frozen=True)
class Section:
    """A heading with the words below it, up to the next one. ``scope``: the headings above it."""

    title: str
    text: str
    scope: str
    anchor: str
    authority: str
    line: int


def import_rules(text: str, name: str) -> dict[str, Any]:
    """A constitution as a plain value: a rule for each section that has words.

    Where the document gives levels of authority, sections without one are proposed, and not in force. The words under
    a document's only title are about the document, and no rule. Raises SpecError."""
    sections = read_sections(text)
    found = [section for section in sections if section.text]
    if not found:
        cure = "Give a Markdown document with headings; a list of rules needs no import."
        raise SpecError(f"{name} holds no section with words under a heading", cure=cure)
    levels = any(section.authority for section in found)
    ids: dict[str, int] = {}
    rules = []
    for section in found:
        ids[section.anchor] = ids.get(section.anchor, 0) + 1
        number = ids[section.anchor]
        rules.append(
            {
                "id": section.anchor if number == 1 else f"{section.anchor}-{number}",
                "title": section.title,
                "text": section.text,
                "scope": section.scope,
                "status": "proposed" if levels and not section.authority else "approved",
                "by": "people",
                "authority": section.authority,
            }
        )
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"source": f"{name}@sha256:{digest}", "principles": rules}


def read_sections(text: str) -> list[Section]:
    """The sections of a Markdown document in order; headings inside fenced blocks are none."""
    from markdown_it import MarkdownIt

    lines = text.splitlines()
    tokens = MarkdownIt("commonmark").parse(text)
    heads = [
        (int(token.tag[1]), tokens[at + 1].content, token.map)
        for at, token in enumerate(tokens)
        if token.type == "heading_open" and token.level == 0 and token.map is not None
    ]
    only = sum(level == min((head[0] for head in heads), default=1) for level, _, _ in heads) == 1 and len(heads) > 1
    made: list[Section] = []
    above: list[tuple[int, str]] = []
    for number, (level, heading, (begin, end)) in enumerate(heads):
        title, anchor, authority = _heading(heading)
        above = [(depth, name) for depth, name in above if depth < level]
        until = heads[number + 1][2][0] if number + 1 < len(heads) else len(lines)
        words = "" if only and number == 0 else _words(lines[end:until])
        scope = " > ".join(name for depth, name in above if not (only and depth == heads[0][0]))
        made.append(Section(title, words, scope, anchor, authority, begin + 1))
        above.append((level, title))
    return made


def _heading(heading: str) -> tuple[str, str, str]:
    """A heading's title, anchor and level of authority."""
    marks = _MARKS.search(heading)
    title = re.sub(r"[*_`]{1,2}(\S.*?)[*_`]{1,2}", r"\1", heading[: marks.start()] if marks else heading).strip()
    words = marks[1].split() if marks else []
    anchor = next((word[1:] for word in words if word.startswith("#")), "")
    authority = next((word.partition("=")[2] for word in words if word.startswith("authority=")), "")
    slug = re.sub(r"\W+", "-", title.casefold()).strip("-")
    return title, anchor or slug or "section", authority


def _words(lines: list[str]) -> str:
    """What a section says, without commentary, examples, comments and notes."""
    kept: list[str] = []
    fence, beside = "", False
    for line in lines:
        mark = re.match(r"\s*(~{3,}|`{3,})", line)
        if fence:
            fence = "" if mark and line.strip().startswith(fence) else fence
            continue
        if mark:
            fence = mark[1]
            continue
        if line.startswith(("!!!", "???")):
            beside = True
            continue
        beside = beside and (not line.strip() or line[:1].isspace())
        if beside or _EXAMPLE.match(line.strip()) or re.match(r"\[\^[^\]]*\]:", line):
            continue
        kept.append(_NOTE.sub("", line).rstrip())
    text = re.sub(r"<!--.*?-->", "", "\n".join(kept), flags=re.DOTALL)
    return re.sub(r"\n{3,}", "\n\n", text).strip()
