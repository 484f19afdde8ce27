"""A label from a judge's reply, however hostile the text that it judged.

A judge may repeat what it judges, and that may hold a feigned verdict. So a verdict counts only where

- it does not stand, word for word, in what was judged;
- it does not stand inside an object that could not be read (a rationale with stray quotes);
- no other verdict in the reply says otherwise.

What is left in doubt is off the menu.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any, NamedTuple

from charter.judging.rubrics import Rubric
from charter.records.chat import Completion
from charter.records.verdicts import Verdict

MAX_REPLY_CHARACTERS = 100_000
"""Characters; a longer reply is off the menu."""


class ParsedReply(NamedTuple):
    """What one reply says; ``label`` is None where it is off the menu."""

    label: str | None
    raw: str
    severity: int = 0
    rationale: str = ""
    categories: tuple[str, ...] = ()


def read_verdict(completion: Completion, rubric: Rubric, material: str = "") -> Verdict:
    """A judge's reply as a verdict; anything off the menu is ``unjudged``, with the raw text kept. ``material`` is the
    text that was judged."""
    return to_verdict(completion.id, rubric, read_label(completion, rubric, material))


def read_label(completion: Completion, rubric: Rubric, material: str = "") -> ParsedReply:
    """The label of a reply in the rubric's form."""
    if completion.error:
        return ParsedReply(None, completion.error)
    if rubric.reply == "lines":
        return _read_lines(completion.text, rubric)
    return read_choice(completion.text, rubric.menu, material)


def to_verdict(id: str, rubric: Rubric, reading: ParsedReply) -> Verdict:
    """What a reading means under a rubric."""
    return Verdict(
        id=id,
        rubric=rubric.name,
        label=reading.label,
        outcome="unjudged" if reading.label is None else rubric.outcomes[reading.label],
        severity=reading.severity,
        rationale=reading.rationale,
        raw=reading.raw,
        categories=reading.categories,
    )


def read_choice(text: str, menu: Collection[str], material: str = "") -> ParsedReply:
    """The label of a JSON reply: bare, in a code fence, or among other words."""
    echoes = _find_labelled_objects(material) if '"label"' in material else []
    found = (
        [value for value in _find_labelled_objects(text) if value not in echoes]
        if len(text) <= MAX_REPLY_CHARACTERS
        else []
    )
    labels = [value["label"] for value in found]
    if not labels or any(label != labels[0] for label in labels):
        return ParsedReply(None, text)
    label, severity = labels[-1], found[-1].get("severity")
    if not isinstance(label, str) or label not in menu:
        return ParsedReply(None, text)
    return ParsedReply(
        label=label,
        raw=text,
        severity=severity if type(severity) is int and 0 <= severity <= 3 else 0,
        rationale=str(found[-1].get("rationale", "")),
    )


def _read_lines(text: str, rubric: Rubric) -> ParsedReply:
    """A classifier's reply: a label; where it violates, and the rubric has categories, their codes on the second
    line. Nothing else."""
    lines = [line.strip() for line in text[:MAX_REPLY_CHARACTERS].strip().split("\n")]
    label = lines[0].lower()
    broken = rubric.categories and rubric.outcomes.get(label) == "violates"
    codes = tuple(code for code in re.split(r"[,\s]+", lines[1]) if code) if broken and len(lines) > 1 else ()
    whole = label in rubric.menu and len(lines) == (2 if broken else 1) and len(text) <= MAX_REPLY_CHARACTERS
    if not whole or not set(codes) <= rubric.categories.keys() or (broken and not codes):
        return ParsedReply(None, text)
    return ParsedReply(label, text, categories=tuple(dict.fromkeys(codes)))


def _find_labelled_objects(text: str) -> list[dict[str, Any]]:
    """The outermost JSON objects with a ``label``, in order, less those that stand inside something unread."""
    decoder, found, at, depth = json.JSONDecoder(object_pairs_hook=_refuse_repeated_keys), [], 0, 0
    for brace in re.finditer(r"[{}]", text[:MAX_REPLY_CHARACTERS]):
        if brace.start() < at:
            continue
        if depth or brace[0] == "}":
            depth = max(0, depth + (1 if brace[0] == "{" else -1))
            continue
        try:
            value, at = decoder.raw_decode(text, brace.start())
            json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            depth = 1
            continue
        if "label" in value:
            found.append(value)
    return found


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys stand once each. Raises ValueError: who gives a label twice has given none."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key stands twice")
    return value
