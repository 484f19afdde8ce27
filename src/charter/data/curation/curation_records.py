"""What passes through a sieve, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pydantic import Field

from charter.records.record import Record

MASKING_STATEMENT = (
    "No such tool finds all personal data or all secrets: what is masked was recognised by its form, and what has no "
    "such form (names, addresses, stories that tell who somebody is) stays."
)


@dataclass(frozen=True)
class CurationRow:
    """A row on its way through the sieve. ``texts``: its turns, the target last; ``asked``: how many of them are the
    prompt (0: the row has no target); ``beside``: other texts that it holds (a rejected answer, a second column), which
    are searched for benchmarks and masked, and do not tell whether two rows say the same; ``roles``: who says each
    turn, where that is known."""

    id: str
    texts: tuple[str, ...]
    prompt_turns: int = 0
    other_texts: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    source: str = ""
    licence: str = ""
    language: str = ""

    @property
    def prompt(self) -> str:
        """What is asked."""
        return "\n".join(self.texts[: self.prompt_turns] if self.prompt_turns else self.texts)

    @property
    def conversation(self) -> str:
        """All turns."""
        return "\n".join(self.texts)

    @property
    def separate_texts(self) -> tuple[str, ...]:
        """Whatever may be a text of its own: the prompt, each turn, and what stands beside."""
        return (self.prompt, *self.texts, *self.other_texts)

    @property
    def all_text(self) -> str:
        """Every text that is written out."""
        return "\n".join((*self.texts, *self.other_texts))


class FilterMatch(Record):
    """What a row is like: a benchmark's text or an earlier row. ``text`` is cut; ``how``: ``verbatim``, ``n-gram`` or
    ``near``."""

    name: str
    how: str
    text: str = ""


class FilterResult(Record):
    """What became of a row: ``dropped`` says why it is left out (nothing: it stays), ``masked`` counts what was masked
    by kind, ``texts`` are the turns as they stay, ``beside`` the other texts; ``judged``: its target was judged
    again."""

    id: str
    dropped: str = ""
    match: FilterMatch | None = None
    masked: dict[str, int] = Field(default_factory=dict)
    texts: tuple[str, ...] = ()
    other_texts: tuple[str, ...] = ()
    judged: bool = False
    source: str = ""
    licence: str = ""
    language: str = ""
    words: int = 0


class FilterCount(Record):
    """One filter of a card: rows that came to it, and rows that it left out, by reason."""

    id: str
    rows: int
    dropped: int


class GroupCount(Record):
    """Rows of one source (with its licence), language or length, before and after."""

    id: str
    licence: str = ""
    before: int
    after: int


class DataCard(Record):
    """What a training set is made of: counts at each filter in their order, what was masked (occurrences by kind, and
    in how many rows), and rows by source, language and length. ``settings``: how it was sifted."""

    id: str = "data_card"
    rows: int
    kept: int
    filters: tuple[FilterCount, ...]
    masked: dict[str, int]
    rows_masked: int
    sources: tuple[GroupCount, ...]
    languages: tuple[GroupCount, ...]
    lengths: tuple[GroupCount, ...]
    settings: dict[str, str] = Field(default_factory=dict)
    statement: str = MASKING_STATEMENT


@dataclass(frozen=True)
class DetectedSpan:
    """A place in a text, and what stands there."""

    kind: str
    start: int
    end: int


@runtime_checkable
class Detector(Protocol):
    """Finds personal data or secrets by their form."""

    @property
    def identity(self) -> str:
        """Library, version and kinds."""
        ...

    def find(self, text: str) -> Sequence[DetectedSpan]:
        """Every place, in any order; they may overlap."""
        ...


class LanguageDetector(Protocol):
    """Tells languages apart."""

    @property
    def identity(self) -> str:
        """Library and version."""
        ...

    def detect(self, text: str) -> str:
        """The language of a text as its ISO 639-1 code; nothing where that cannot be told."""
        ...


@dataclass(frozen=True)
class CurationTools:
    """What a sieve asks of others: recognisers, a teller of languages, and a judge of targets that gives for each row
    a reason against it, or nothing."""

    detectors: tuple[Detector, ...] = ()
    language_detector: LanguageDetector | None = None
    judge_targets: Callable[[Sequence[CurationRow]], Sequence[str]] | None = None

    @property
    def identity(self) -> str:
        """What a step's record names."""
        named = [r.identity for r in self.detectors]
        return "; ".join(
            [
                *named,
                self.language_detector.identity if self.language_detector else "",
                "judged" if self.judge_targets else "",
            ]
        )


RowReader = Callable[[], Iterator[CurationRow]]
"""Rows that can be read again from the first."""
