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
REFUSED = "refused"
"""Why a verdict is missing where the judge would not look at what it was shown."""
_REFUSAL = re.compile(
    r"\W*(i['’]?m sorry|i am sorry|sorry|i apologi[sz]e|i can['’]?t|i cannot|i can not|i won['’]?t|i will not|"
    r"i['’]?m (unable|not able)|i am (unable|not able)|i must decline|i['’]?d rather not|i would rather not|as an ai)",
    re.IGNORECASE,
)
"""How a refusal in plain words begins. It only tells kinds of unread replies apart."""


class ParsedReply(NamedTuple):
    """What one reply says; ``label`` is None where it is off the menu, for the reason ``why``."""

    label: str | None
    raw: str
    severity: int | None = 0
    rationale: str = ""
    categories: tuple[str, ...] = ()
    why: str = ""
    thought: str = ""


def read_verdict(completion: Completion, rubric: Rubric, material: str = "") -> Verdict:
    """A judge's reply as a verdict; anything off the menu is ``unjudged``, with the raw text kept. ``material`` is the
    text that was judged."""
    return to_verdict(completion.id, rubric, read_label(completion, rubric, material))


def read_label(completion: Completion, rubric: Rubric, material: str = "") -> ParsedReply:
    """The label of a reply in the rubric's form."""
    if (unread := read_failure(completion)) is not None:
        return unread
    if rubric.reply == "lines":
        found = _read_lines(completion.text, rubric)
    else:
        found = read_choice(completion.text, rubric.menu, material)
    return explain_reading(found, completion)


def read_failure(completion: Completion) -> ParsedReply | None:
    """A reply that says nothing: an error, a refusal in a field of its own, or no text; None where there is a text."""
    if completion.error:
        empty = completion.error.startswith("empty answer")
        return ParsedReply(
            None, completion.error, why=completion.error if empty else "error", thought=completion.thought
        )
    if completion.failure:
        return ParsedReply(None, completion.text, why=completion.failure, thought=completion.thought)
    if completion.refused:
        return ParsedReply(None, completion.text, why=REFUSED, thought=completion.thought)
    return None


def explain_reading(reading: ParsedReply, completion: Completion) -> ParsedReply:
    """A reading with the thought before it and, where the reply was cut off unread, with that as its reason."""
    cut = reading.label is None and completion.stop == "length" and reading.why != REFUSED
    return reading._replace(thought=completion.thought, why="cut off" if cut else reading.why)


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
        why=reading.why if reading.label is None else "",
        thought=reading.thought,
    )


def read_choice(text: str, menu: Collection[str], material: str = "") -> ParsedReply:
    """The label of a JSON reply: bare, in a code fence, or among other words. Line breaks in its texts, letter case and
    blanks of the label, and a severity as text are forgiven; nothing else is."""
    echoes = _find_labelled_objects(material) if '"label"' in material else []
    given = _find_labelled_objects(text) if len(text) <= MAX_REPLY_CHARACTERS else []
    found = [value for value in given if value not in echoes]
    labels = [value["label"] for value in found]
    if not labels:
        return ParsedReply(None, text, why="only what was judged is repeated" if given else _why(text))
    if any(label != labels[0] for label in labels):
        return ParsedReply(None, text, why="verdicts that differ")
    known = {_folded(label): label for label in menu}
    if not isinstance(labels[0], str) or labels[0] not in known:
        return ParsedReply(None, text, why="a label off the menu")
    last = found[-1]
    return ParsedReply(
        label=known[labels[0]],
        raw=text,
        severity=_severity(last.get("severity")),
        rationale=str(last.get("rationale", "")),
    )


def _folded(label: object) -> object:
    return label.strip().casefold() if isinstance(label, str) else label


def _severity(given: object) -> int | None:
    """A whole number of the scale, also as text; None for anything else."""
    if isinstance(given, str) and re.fullmatch(r"\s*[0-3](\.0+)?\s*", given):
        given = float(given)
    if isinstance(given, bool) or not isinstance(given, int | float) or given not in range(4):
        return None
    return int(given)


def _why(text: str) -> str:
    """What is wrong with a reply that holds no verdict: a kind, so that its like can be counted."""
    begin, end = text.find("{"), text.rfind("}")
    if begin < 0:
        return REFUSED if _REFUSAL.match(text) else "no JSON"
    if end < begin:
        return "JSON that breaks off"
    try:
        value = json.loads(text[begin : end + 1][:MAX_REPLY_CHARACTERS], strict=False)
    except (ValueError, RecursionError):
        commas = re.sub(r",(\s*[}\]])", r"\1", text[begin : end + 1][:MAX_REPLY_CHARACTERS])
        try:
            json.loads(commas, strict=False)
        except (ValueError, RecursionError):
            single = re.search(r"[{,]\s*'\w+'\s*:", text) is not None
            return "single quotes" if single else "JSON that cannot be read"
        return "extra comma"
    return "no label" if isinstance(value, dict) else "JSON that cannot be read"


def _read_lines(text: str, rubric: Rubric) -> ParsedReply:
    """A classifier's reply: a label; where it violates, and the rubric has categories, their codes on the second
    line. Nothing else."""
    lines = [line.strip() for line in text[:MAX_REPLY_CHARACTERS].strip().split("\n")]
    label = lines[0].lower()
    broken = rubric.categories and rubric.outcomes.get(label) == "violates"
    codes = tuple(code for code in re.split(r"[,\s]+", lines[1]) if code) if broken and len(lines) > 1 else ()
    whole = label in rubric.menu and len(lines) == (2 if broken else 1) and len(text) <= MAX_REPLY_CHARACTERS
    if not whole or not set(codes) <= rubric.categories.keys() or (broken and not codes):
        return ParsedReply(None, text, why=REFUSED if _REFUSAL.match(text) else "lines off the menu")
    return ParsedReply(label, text, categories=tuple(dict.fromkeys(codes)))


def _find_labelled_objects(text: str) -> list[dict[str, Any]]:
    """The outermost JSON objects with a ``label`` (in small letters), in order, less those inside something unread."""
    decoder, found, at, depth = json.JSONDecoder(object_pairs_hook=_refuse_repeated_keys, strict=False), [], 0, 0
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
            found.append({**value, "label": _folded(value["label"])})
    return found


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys stand once each. Raises ValueError: who gives a label twice has given none."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key stands twice")
    return value
