"""Curation: training rows sifted before a policy is tuned on them, and their data card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from charter.data.curation import data_card_builder
from charter.data.curation.contamination import ContaminationIndex
from charter.data.curation.curation_records import CurationRow, CurationTools, DataCard, FilterResult
from charter.data.curation.filter_pipeline import FilterPipeline
from charter.records.chat import Exchange, Message, Prompt, Sampling
from charter.records.record import Step, digest
from charter.records.training_rows import Example, PreferencePair
from charter.records.training_rows import TrainingRow as Trained
from charter.records.verdicts import Verdict
from charter.spec.curation_spec import CurationSpec

T = TypeVar("T", Example, PreferencePair, Prompt)
RUN_LICENCE = "made in this run"
"""Where a row comes from whose prompt is of no source."""


@dataclass(frozen=True)
class CurationSetup:
    """What rows are sifted with: ``protected`` texts by the name of what uses them, tools, the prompts that are
    ``known`` with source, licence and language, and benchmarks that are ``uncovered``, each with the reason."""

    protected: Mapping[str, Sequence[str]]
    tools: CurationTools = field(default_factory=CurationTools)
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


def targets_to_exchanges(rows: Sequence[Trained]) -> list[Exchange]:
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
        for row in _distinct_rows(rows).values()
        if (answer := _target_text(row)) is not None
    ]


def filter_training_rows(
    rows: Sequence[Trained], judged: Sequence[Verdict], sifting: CurationSetup, options: CurationSpec, *, step: Step
) -> list[FilterResult]:
    """What became of each row; a row's copies are that row, and a pair is its prompt with the chosen answer, the
    rejected one beside it. ``judged``: what the judge says of the targets."""
    del step
    said = {v.id: v for v in judged}

    def against(batch: Sequence[CurationRow]) -> list[str]:
        return [exclusion_reason(said.get(row.id)) for row in batch]

    tools = CurationTools(sifting.tools.detectors, sifting.tools.language_detector, against)
    sieve = FilterPipeline(options, ContaminationIndex(sifting.protected, options.ngram, options.changed), tools)
    distinct = _distinct_rows(rows)
    return list(sieve.filter_rows(lambda: (_to_filter_row(row, sifting.prompts) for row in distinct.values())))


def keep_rows(rows: Sequence[Example], fates: Sequence[FilterResult], *, step: Step) -> list[Example]:
    """The rows that stay, in their order and with their copies, masked."""
    del step
    return [
        row.model_copy(update={"messages": _masked_turns(row, fate), "response": fate.texts[-1]})
        for row, fate in _kept_rows(rows, fates)
    ]


def keep_pairs(pairs: Sequence[PreferencePair], fates: Sequence[FilterResult], *, step: Step) -> list[PreferencePair]:
    """The pairs that stay, masked in prompt and both answers."""
    del step
    return [
        pair.model_copy(
            update={"messages": _masked_turns(pair, fate), "chosen": fate.texts[-1], "rejected": fate.other_texts[0]},
        )
        for pair, fate in _kept_rows(pairs, fates)
    ]


def keep_prompts(prompts: Sequence[Prompt], fates: Sequence[FilterResult], *, step: Step) -> list[Prompt]:
    """The prompts that stay, masked."""
    del step
    return [
        prompt.model_copy(update={"messages": _masked_turns(prompt, fate)})
        for prompt, fate in _kept_rows(prompts, fates)
    ]


def build_data_card(
    fates: Sequence[FilterResult], sifting: CurationSetup, options: CurationSpec, *, step: Step
) -> DataCard:
    """The training set's data card."""
    del step
    held = {name: len(texts) for name, texts in sifting.protected.items()}
    return data_card_builder.build_data_card(fates, options, sifting.tools, held, sifting.uncovered)


def exclusion_reason(verdict: Verdict | None) -> str:
    """Why a target is left out, by what the judge says of it; nothing where it complies."""
    if verdict is None or verdict.outcome == "unjudged":
        return "unjudged"
    return "" if verdict.outcome == "complies" else verdict.label or "violates"


def _target_text(row: Trained) -> str | None:
    if isinstance(row, Prompt):
        return None
    return row.chosen if isinstance(row, PreferencePair) else row.response


def _to_filter_row(given: Trained, known: Mapping[str, Prompt]) -> CurationRow:
    """A training row on its way through the sieve, with what is known of its prompt."""
    texts = tuple(message.content for message in given.messages)
    answer, prompt = _target_text(given), known.get("\n".join(texts))
    meta = prompt.meta if prompt is not None else {}
    made = (
        given.origin
        if isinstance(given, Example)
        else "preferred"
        if isinstance(given, PreferencePair)
        else given.source
        if isinstance(given, Prompt)
        else "rated"
    )
    return CurationRow(
        id=given.id,
        texts=texts if answer is None else (*texts, answer),
        prompt_turns=0 if answer is None else len(texts),
        other_texts=(given.rejected,) if isinstance(given, PreferencePair) else (),
        source=prompt.source if prompt is not None else made,
        licence=meta.get("licence", "") if prompt is not None else RUN_LICENCE,
        language=meta.get("language", ""),
    )


def _masked_turns(row: Trained, fate: FilterResult) -> tuple[Message, ...]:
    texts = fate.texts[: len(row.messages)]
    return tuple(Message(role=message.role, content=text) for message, text in zip(row.messages, texts, strict=True))


def _kept_rows(rows: Sequence[T], fates: Sequence[FilterResult]) -> Iterator[tuple[T, FilterResult]]:
    """The rows that stay, copies too, each with its fate."""
    stay = {fate.id: fate for fate in fates if not fate.dropped}
    return ((row, stay[_row_id(row.id)]) for row in rows if _row_id(row.id) in stay)


def _distinct_rows(rows: Sequence[Trained]) -> dict[str, Trained]:
    """Each row once, under its own id."""
    found: dict[str, Trained] = {}
    for row in rows:
        found.setdefault(_row_id(row.id), row.model_copy(update={"id": _row_id(row.id)}))
    return found


def _row_id(id: str) -> str:
    """A row's id without the mark of a copy that replay made."""
    name, plus, turn = id.rpartition("+")
    return name if plus and turn.isdigit() else id
