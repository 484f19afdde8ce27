"""Thoughts that a reasoning model writes before its answer: the marks around them, and where the answer begins."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

PAIRS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("◁think▷", "◁/think▷"),
)
"""What published chat templates write around a thought."""
_MARK = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]+\]|◁[^◁▷\s]+▷")
_TURNED = (("START", "END"), ("start", "end"), ("BEGIN", "END"), ("begin", "end"), ("open", "close"))


@dataclass(frozen=True)
class ThoughtMarks:
    """How a chat template treats thoughts.

    Attributes:
        pairs: what opens a thought and what closes it; those that the template has written itself come first.
        opened: the prompt ends in an opened thought, closed by the first pair.
        lead: what the template writes between the prompt and an answer, white space cut off.
    """

    pairs: tuple[tuple[str, str], ...] = PAIRS
    opened: bool = False
    lead: str = ""

    @property
    def closes(self) -> bool:
        """Whether the lead is a thought: an empty one, or the end of the one that the prompt opened."""
        return any(closer in self.lead for _, closer in self.pairs)

    @property
    def channels(self) -> bool:
        """Whether the lead names the channel that the answer stands in."""
        return not self.closes and "channel" in self.lead

    @property
    def thinks(self) -> bool:
        """Whether the template knows thoughts."""
        return self.opened or self.closes or self.channels

    def find_answer(self, text: str) -> int | None:
        """Where the answer begins in what a model wrote, special tokens and all; None where a thought does not end."""
        if self.lead and not self.closes:
            return self._after_lead(text)
        place = 0
        if self.opened:
            found = text.find(self.pairs[0][1])
            if found < 0:
                return None
            place = found + len(self.pairs[0][1])
        while (pair := self._opens(text[place:])) is not None:
            found = text.find(pair[1], place)
            if found < 0:
                return None
            place = found + len(pair[1])
        return place

    def strip(self, text: str) -> str:
        """A thought without the marks around it."""
        for mark in (mark for pair in self.pairs for mark in pair):
            text = text.replace(mark, " ")
        return text.strip()

    def _opens(self, text: str) -> tuple[str, str] | None:
        begin = text.lstrip()
        return next((pair for pair in self.pairs if begin.startswith(pair[0])), None)

    def _after_lead(self, text: str) -> int | None:
        """Where the last channel begins: after the words and marks that the template writes before an answer."""
        parts = re.findall(r"<[^<>\s]+>|[^\s<]+", self.lead)
        places = [found.end() for found in re.finditer(r"\s*".join(map(re.escape, parts)), text)]
        if places:
            return places[-1]
        begun = next((part for part in parts if _MARK.fullmatch(part)), None)
        return None if begun is not None and begun in text else 0


def close_mark(opener: str) -> str:
    """What closes a thought that ``opener`` opens: of a known pair, or by the way in which such marks are named."""
    known = dict(PAIRS)
    if opener in known:
        return known[opener]
    for one, other in _TURNED:
        if one in opener:
            return opener.replace(one, other)
    place = re.match(r"[<\[◁]\|?", opener)
    return f"{opener[: place.end()]}/{opener[place.end() :]}" if place else f"/{opener}"


def read_marks(prompt: str, begun: str, lead: str, knows: Callable[[str], bool]) -> ThoughtMarks:
    """How a template treats thoughts, by what it wrote.

    Args:
        prompt: a prompt, up to where the answer starts.
        begun: the end of the prompt that an answered turn does not show (empty: it shows all).
        lead: what stands between the prompt (or what it shares with an answered turn) and the answer.
        knows: whether a mark is one of the template's or the tokenizer's.
    """
    lead, pairs = lead.strip(), PAIRS
    marks = _MARK.findall(lead)
    if len(marks) == 2 and "".join(lead.split()) == "".join(marks) and close_mark(marks[0]) == marks[1]:
        pairs = _first((marks[0], marks[1]), pairs)
    opened = (_MARK.findall(begun) or [""])[-1] if begun.strip() else ""
    if opened and not begun.rstrip().endswith(opened):
        opened = ""
    opened = opened or next((opener for opener, _ in pairs if prompt.rstrip().endswith(opener)), "")
    if opened and (opened in dict(pairs) or knows(close_mark(opened))):
        return ThoughtMarks(_first((opened, close_mark(opened)), pairs), True, lead)
    return ThoughtMarks(pairs, False, lead)


def _first(own: tuple[str, str], pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return (own, *(pair for pair in pairs if pair != own))
