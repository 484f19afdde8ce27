"""Numbered lists, as they are shown to a model and as they are read from its reply."""

from __future__ import annotations

import re
from collections.abc import Sequence

from charter.data.instructing.instruction_records import Instruction
from charter.records.chat import Completion
from charter.records.record import Step
from charter.records.templates import LINE_BREAK, Templates, draw_nonce, fence_text, render

TRUNCATED, NO_ANSWER, NO_LIST, EMPTY = "truncated", "no answer", "no list in the reply", "empty"
_NUMBER = re.compile(r"^[ \t]*(\*\*|__)?\(?(\d{1,4})[.):](?:\*\*|__)?(?:[ \t]+|$|(?=[^\s\d]))", re.MULTILINE)
_BULLET = re.compile(r"^([ \t]*)[-*+\u2022\u2013][ \t]+", re.MULTILINE)
_MARKED = re.compile(r"(\*\*|__)((?:(?!\1).)+)\1", re.DOTALL)


def render_list(instructions: Sequence[Instruction], templates: Templates, first: int = 1) -> str:
    """Instructions as a numbered list, bare. Further lines of an item are indented, so that no item can feign
    another."""
    rows = []
    for number, one in enumerate(instructions, first):
        text = render_instruction(one, templates) if one.topic else one.text
        indented = LINE_BREAK.sub(lambda found: found[0] + "   ", text)
        rows.append(render(templates.item, {"number": str(number), "text": indented}))
    return "\n".join(rows)


def fence_list(name: str, listed: str, fence: bool, step: Step, id: str) -> str:
    """A list between fences that its writers could not foresee; bare where a base model is to continue it."""
    return fence_text(name, listed, draw_nonce(step.random(f"{id}/{name}"), listed)) if fence else listed


def render_instruction(one: Instruction, templates: Templates) -> str:
    """A question with its type and topic before it."""
    return render(templates.guided, {"type": one.type, "topic": one.topic, "text": one.text}).rstrip()


def parse_reply(answer: Completion, whole: bool) -> tuple[list[tuple[int, str]], dict[str, int]]:
    """A reply's items with their numbers (``whole``: it is one item), and what was dropped of it: the last item where
    the reply was cut off, and empty ones."""
    if answer.error:
        return [], {NO_ANSWER: 1}
    found = [(1, answer.text.strip())] if whole else parse_list(answer.text)
    if not found:
        return [], {NO_LIST: 1}
    cut = answer.stop == "length"
    texts = [(number, text) for number, text in found[: len(found) - cut] if text]
    dropped = {TRUNCATED: int(cut), EMPTY: len(found) - cut - len(texts)}
    return texts, {reason: count for reason, count in dropped.items() if count}


def parse_list(reply: str) -> list[tuple[int, str]]:
    """The items of a numbered list with their numbers, in plain or bold type; where nothing is numbered, those of a
    list with bullets, which count down from -1. A number counts where it follows on from the one before, so that a list
    within an item stays within it; what stands before the first number is no item."""
    marks: list[re.Match[str]] = []
    for found in _NUMBER.finditer(reply):
        if not marks or int(found[2]) == int(marks[-1][2]) + 1:
            marks.append(found)
    numbers = [int(mark[2]) for mark in marks]
    if not marks:
        bullets = list(_BULLET.finditer(reply))
        marks = [found for found in bullets if found[1] == bullets[0][1]]
        numbers = [-n for n in range(1, len(marks) + 1)]
    ends = [*(mark.start() for mark in marks[1:]), len(reply)] if marks else []
    texts = [
        _strip_marks(reply[mark.start() : end].strip(), mark[0].strip()) for mark, end in zip(marks, ends, strict=True)
    ]
    return list(zip(numbers, texts, strict=True))


def strip_number(text: str) -> str:
    """A text without a list's number before it."""
    mark = _NUMBER.match(text)
    return _strip_marks(text, mark[0].strip()) if mark else text


def _strip_marks(item: str, mark: str) -> str:
    """An item's text without its mark, and without the marks of bold type around the whole of it."""
    text = item[len(mark) :].strip()
    opened = next((m for m in ("**", "__") if mark.startswith(m) and not mark.endswith(m)), "")
    if opened and text.endswith(opened) and text.count(opened) == 1:
        return text.removesuffix(opened).strip()
    whole = _MARKED.fullmatch(text)
    return whole[2].strip() if whole else text
