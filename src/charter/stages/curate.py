"""Curation: training rows sifted before a policy is tuned on them, and their data card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from charter.curation.carding import card_of
from charter.curation.contamination import Contamination
from charter.curation.records import DataCard, Row, Sifted, Tools
from charter.curation.sieve import Sieve
from charter.nouns import Example, Exchange, Message, Preferred, Prompt, Sampling, Step, Verdict, digest
from charter.nouns import Row as Trained
from charter.spec.curating import Curating

T = TypeVar("T", Example, Preferred, Prompt)
MADE = "made in this run"
"""Where a row comes from whose prompt is of no source."""


@dataclass(frozen=True)
class Sifting:
    """What rows are sifted with: ``protected`` texts by the name of what uses them, tools, the prompts that are
    ``known`` with source, licence and language, and benchmarks that are ``uncovered``, each with the reason."""

    protected: Mapping[str, Sequence[str]]
    tools: Tools = field(default_factory=Tools)
    known: Sequence[Prompt] = ()
    uncovered: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """What a step's record names."""
        return digest([self.protected, self.tools.identity, [p.id for p in self.known], self.uncovered])

    @cached_property
    def prompts(self) -> dict[str, Prompt]:
        """The known prompts by their text."""
        return {p.text: p for p in self.known}


def targets(rows: Sequence[Trained]) -> list[Exchange]:
    """The rows' targets as exchanges, for a judge; a row's copies are that row, and prompts have no target."""
    return [
        Exchange(
            id=row.id,
            prompt=Prompt(id=row.id, messages=row.messages),
            response=answer,
            stop="stop",
            model="row",
            sampling=Sampling(),
        )
        for row in _distinct(rows).values()
        if (answer := _target(row)) is not None
    ]


def sift(
    rows: Sequence[Trained], judged: Sequence[Verdict], sifting: Sifting, options: Curating, *, step: Step
) -> list[Sifted]:
    """What became of each row; a row's copies are that row, and a pair is its prompt with the chosen answer, the
    rejected one beside it. ``judged``: what the judge says of the targets."""
    del step
    said = {v.id: v for v in judged}

    def against(batch: Sequence[Row]) -> list[str]:
        return [reason(said.get(row.id)) for row in batch]

    tools = Tools(sifting.tools.recognisers, sifting.tools.tongue, against)
    sieve = Sieve(options, Contamination(sifting.protected, options.ngram, options.changed), tools)
    distinct = _distinct(rows)
    return list(sieve.sift(lambda: (_row(row, sifting.prompts) for row in distinct.values())))


def curated(rows: Sequence[Example], fates: Sequence[Sifted], *, step: Step) -> list[Example]:
    """The rows that stay, in their order and with their copies, masked."""
    del step
    return [
        row.model_copy(update={"messages": _turns(row, fate), "response": fate.texts[-1]})
        for row, fate in _kept(rows, fates)
    ]


def curated_pairs(pairs: Sequence[Preferred], fates: Sequence[Sifted], *, step: Step) -> list[Preferred]:
    """The pairs that stay, masked in prompt and both answers."""
    del step
    return [
        pair.model_copy(
            update={"messages": _turns(pair, fate), "chosen": fate.texts[-1], "rejected": fate.beside[0]},
        )
        for pair, fate in _kept(pairs, fates)
    ]


def curated_prompts(prompts: Sequence[Prompt], fates: Sequence[Sifted], *, step: Step) -> list[Prompt]:
    """The prompts that stay, masked."""
    del step
    return [prompt.model_copy(update={"messages": _turns(prompt, fate)}) for prompt, fate in _kept(prompts, fates)]


def card(fates: Sequence[Sifted], sifting: Sifting, options: Curating, *, step: Step) -> DataCard:
    """The training set's data card."""
    del step
    held = {name: len(texts) for name, texts in sifting.protected.items()}
    return card_of(fates, options, sifting.tools, held, sifting.uncovered)


def reason(verdict: Verdict | None) -> str:
    """Why a target is left out, by what the judge says of it; nothing where it complies."""
    if verdict is None or verdict.outcome == "unjudged":
        return "unjudged"
    return "" if verdict.outcome == "complies" else verdict.label or "violates"


def _target(row: Trained) -> str | None:
    if isinstance(row, Prompt):
        return None
    return row.chosen if isinstance(row, Preferred) else row.response


def _row(given: Trained, known: Mapping[str, Prompt]) -> Row:
    """A training row on its way through the sieve, with what is known of its prompt."""
    texts = tuple(message.content for message in given.messages)
    answer, prompt = _target(given), known.get("\n".join(texts))
    meta = prompt.meta if prompt is not None else {}
    made = given.origin if isinstance(given, Example) else "preferred" if isinstance(given, Preferred) else given.source
    return Row(
        id=given.id,
        texts=texts if answer is None else (*texts, answer),
        asked=0 if answer is None else len(texts),
        beside=(given.rejected,) if isinstance(given, Preferred) else (),
        source=prompt.source if prompt is not None else made,
        licence=meta.get("licence", "") if prompt is not None else MADE,
        language=meta.get("language", ""),
    )


def _turns(row: Trained, fate: Sifted) -> tuple[Message, ...]:
    texts = fate.texts[: len(row.messages)]
    return tuple(Message(role=message.role, content=text) for message, text in zip(row.messages, texts, strict=True))


def _kept(rows: Sequence[T], fates: Sequence[Sifted]) -> Iterator[tuple[T, Sifted]]:
    """The rows that stay, copies too, each with its fate."""
    stay = {fate.id: fate for fate in fates if not fate.dropped}
    return ((row, stay[_plain(row.id)]) for row in rows if _plain(row.id) in stay)


def _distinct(rows: Sequence[Trained]) -> dict[str, Trained]:
    """Each row once, under its own id."""
    found: dict[str, Trained] = {}
    for row in rows:
        found.setdefault(_plain(row.id), row.model_copy(update={"id": _plain(row.id)}))
    return found


def _plain(id: str) -> str:
    """A row's id without the mark of a copy that replay made."""
    name, plus, turn = id.rpartition("+")
    return name if plus and turn.isdigit() else id
