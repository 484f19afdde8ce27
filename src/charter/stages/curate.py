"""Curation: training rows sifted before a policy is tuned on them, and their data card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from charter.curation.contamination import Contamination
from charter.curation.records import DataCard, Row, Sifted, Tools
from charter.curation.sieve import Sieve, card_of
from charter.nouns import Example, Exchange, Message, Prompt, Sampling, Step, Verdict, digest
from charter.spec.curating import Curating


@dataclass(frozen=True)
class Sifting:
    """What rows are sifted with: ``protected`` texts by the name of what uses them, tools, and the prompts that are
    ``known`` with source, licence and language."""

    protected: Mapping[str, Sequence[str]]
    tools: Tools = field(default_factory=Tools)
    known: Sequence[Prompt] = ()

    @property
    def identity(self) -> str:
        """What a step's record names."""
        return digest([self.protected, self.tools.identity, [p.id for p in self.known]])

    @cached_property
    def prompts(self) -> dict[str, Prompt]:
        """The known prompts by their text."""
        return {p.text: p for p in self.known}


def targets(rows: Sequence[Example]) -> list[Exchange]:
    """The rows as exchanges, for a judge; a row's copies are that row."""
    return [
        Exchange(
            id=row.id,
            prompt=Prompt(id=row.id, messages=row.messages),
            response=row.response,
            stop="stop",
            model="row",
            sampling=Sampling(),
        )
        for row in _distinct(rows).values()
    ]


def sift(
    rows: Sequence[Example], judged: Sequence[Verdict], sifting: Sifting, options: Curating, *, step: Step
) -> list[Sifted]:
    """What became of each row; a row's copies are that row. ``judged``: what the judge says of the targets."""
    del step
    said = {v.id: v for v in judged}
    known = sifting.prompts

    def given(example: Example) -> Row:
        texts = tuple(message.content for message in example.messages)
        prompt = known.get("\n".join(texts))
        meta = prompt.meta if prompt is not None else {}
        return Row(
            id=example.id,
            texts=(*texts, example.response),
            asked=len(texts),
            source=prompt.source if prompt is not None else example.origin,
            licence=meta.get("licence", ""),
            language=meta.get("language", ""),
        )

    def against(batch: Sequence[Row]) -> list[str]:
        return [reason(said.get(row.id)) for row in batch]

    tools = Tools(sifting.tools.recognisers, sifting.tools.tongue, against)
    sieve = Sieve(options, Contamination(sifting.protected, options.ngram, options.changed), tools)
    distinct = _distinct(rows)
    return list(sieve.sift(lambda: map(given, distinct.values())))


def curated(rows: Sequence[Example], sifted: Sequence[Sifted], *, step: Step) -> list[Example]:
    """The rows that stay, in their order and with their copies, masked."""
    del step
    fates = {s.id: s for s in sifted if not s.dropped}
    kept = []
    for row in rows:
        if (fate := fates.get(_plain(row.id))) is None:
            continue
        turns = tuple(
            Message(role=message.role, content=text)
            for message, text in zip(row.messages, fate.texts[:-1], strict=True)
        )
        kept.append(row.model_copy(update={"messages": turns, "response": fate.texts[-1]}))
    return kept


def card(sifted: Sequence[Sifted], sifting: Sifting, options: Curating, *, step: Step) -> DataCard:
    """The training set's data card."""
    del step
    return card_of(sifted, options, sifting.tools, {name: len(texts) for name, texts in sifting.protected.items()})


def reason(verdict: Verdict | None) -> str:
    """Why a target is left out, by what the judge says of it; nothing where it complies."""
    if verdict is None or verdict.outcome == "unjudged":
        return "unjudged"
    return "" if verdict.outcome == "complies" else verdict.label or "violates"


def _distinct(rows: Sequence[Example]) -> dict[str, Example]:
    """Each row once, under its own id."""
    found: dict[str, Example] = {}
    for row in rows:
        found.setdefault(_plain(row.id), row.model_copy(update={"id": _plain(row.id)}))
    return found


def _plain(id: str) -> str:
    """A row's id without the mark of a copy that replay made."""
    name, plus, turn = id.rpartition("+")
    return name if plus and turn.isdigit() else id
