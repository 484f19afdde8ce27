"""How a thought names rules: by number, alone or in lists and ranges, or by title."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from charter.constitution.document import Constitution

_HEAD = re.compile(r"\b(?:rule|principle)(s?)\b[\s:]*(?:(?:no|nos|nr|numbers?)\b\.?\s*)?")
_ITEM = re.compile(r"#?\s*(\d{1,3})(?!\.?\d)(?:\s*\(\s*([^()]*?)\s*\))?")
_JOIN = re.compile(r"\s*(?:,?\s*(?:and|or)\s+|[,/&]\s*|(?P<range>[-\u2013]|to\b|through\b)\s*)(?=#?\s*\d)")
_GOES_ON = re.compile(
    r"\s*(?:$|[^\w\s%]|(?:and|or|to|through|both|all|here|apply|applies|are|is|matters?|holds?|says?|asks?|tells?)\b)"
)
_COUNTS = re.compile(r"\s*(?:%|(?:others?|more|people|persons|percent|times|words|days|years)\b)")
_NOT = re.compile(
    r"\s*,?\s*(?:(?:do|does|is|are)(?:\s+not|n't)|never)\s+(?:\w+\s+)?"
    r"(?:appl(?:y|ies)|applicable|relevant|concerned|needed|at stake)\b"
)
_TITLES = re.compile(r"\s*(?:,|;|/|&|\band\b)\s*")


@dataclass(frozen=True)
class RuleCitation:
    """Rules named together in a text, from ``start`` to ``end``: each number with the title in brackets after it, or
    nothing. ``denied``: it is said that they do not apply."""

    start: int
    end: int
    rules: tuple[tuple[int, str], ...]
    denied: bool


def strip_emphasis(text: str) -> str:
    """Small letters, one line, no marks of bold or slanted type."""
    return " ".join(re.sub(r"[*_`]", "", text.replace("\u2019", "'").lower()).split())


def find_citations(said: str) -> Iterator[RuleCitation]:
    """Where a ``plain`` text names rules by number. A number after the first belongs to the list unless it counts
    something ("rule 3, 2 people died"); after the word in the singular it must be seen to belong."""
    for head in _HEAD.finditer(said):
        rules, end, joined = list[tuple[int, str]](), head.end(), None
        item = _ITEM.match(said, end)
        while item and (not rules or _belongs_to_list(said, item, bool(head[1]))):
            number = int(item[1])
            between = range(rules[-1][0] + 1, number) if joined and joined["range"] else range(0)
            rules += [*((n, "") for n in between), (number, item[2] or "")]
            end = item.end()
            joined = _JOIN.match(said, end)
            item = _ITEM.match(said, joined.end()) if joined else None
        if rules:
            yield RuleCitation(head.start(), end, tuple(rules), bool(_NOT.match(said, end)))


def _belongs_to_list(said: str, item: re.Match[str], plural: bool) -> bool:
    if item[2] is not None:
        return True
    return not _COUNTS.match(said, item.end()) if plural else bool(_GOES_ON.match(said, item.end()))


def parse_cited_rules(thought: str, constitution: Constitution, numbered: bool) -> tuple[str, ...]:
    """The ids of the rules that a thought names. Where rules are shown with numbers: those in "rule 3" or "rules 1
    (ethical), 4 and 7", or with their title in brackets; else those whose title is among the thought's words."""
    rules = constitution.active
    if not numbered:
        words = f" {' '.join(re.findall(r'[a-z0-9]+', thought.lower()))} "
        titles = [" ".join(re.findall(r"[a-z0-9]+", p.title.lower())) for p in rules]
        return tuple(p.id for p, title in zip(rules, titles, strict=True) if title and f" {title} " in words)
    said, numbers = strip_emphasis(thought), set[int]()
    for found in reversed(list(find_citations(said))):
        if found.denied:
            said = said[: found.start] + said[found.end :]
        else:
            numbers.update(number for number, _ in found.rules)
    brackets = re.findall(r"\(\s*([^()]*?)\s*\)", said)
    titles_in = {*brackets, *(title for inside in brackets for title in _TITLES.split(inside))}
    return tuple(
        p.id for n, p in enumerate(rules, 1) if n in numbers or (p.title and strip_emphasis(p.title) in titles_in)
    )


def find_wrong_citations(
    thoughts: Sequence[tuple[str, str]], constitution: Constitution, names: bool
) -> tuple[str, ...]:
    """What thoughts (each under an id) say of rules that are not in the constitution, one line each: a number that no
    rule has, and with ``names`` a title that is not that of the rule with this number."""
    titles, faults = [strip_emphasis(p.title) for p in constitution.active], []
    for id, thought in thoughts:
        for number, title in (rule for found in find_citations(strip_emphasis(thought)) for rule in found.rules):
            if not 0 < number <= len(titles):
                faults.append(f"{id}: names rule {number}, and there are {len(titles)}")
            elif names and title and title != titles[number - 1]:
                faults.append(f"{id}: names rule {number} ({title}), which is ({titles[number - 1]})")
    return tuple(faults)
