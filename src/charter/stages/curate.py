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
from charter.records.chat import Exchange, Message, Prompt
from charter.records.item_ids import original_row_id
from charter.records.record import digest
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
        Exchange.of_row(row.id, row.messages, answer, model="row")
        for row in _distinct_rows(rows).values()
        if (answer := _target_text(row)) is not None
    ]


def filter_training_rows(
    rows: Sequence[Trained], judged: Sequence[Verdict], sifting: CurationSetup, options: CurationSpec
) -> list[FilterResult]:
    """What became of each row; a row's copies are that row, and a pair is its prompt with the chosen answer, the
    rejected one beside it. ``judged``: what the judge says of the targets."""
    said = {v.id: v for v in judged}

    def against(batch: Sequence[CurationRow]) -> list[str]:
        return [exclusion_reason(said.get(row.id)) for row in batch]

    tools = CurationTools(sifting.tools.detectors, sifting.tools.language_detector, against)
    sieve = FilterPipeline(
        options, ContaminationIndex(sifting.protected, options.ngram, options.words_per_change), tools
    )
    distinct = _distinct_rows(rows)
    return list(sieve.filter_rows(lambda: (_to_filter_row(row, sifting.prompts) for row in distinct.values())))


def keep_rows(rows: Sequence[Example], results: Sequence[FilterResult]) -> list[Example]:
    """The rows that stay, in their order and with their copies, masked."""
    return [
        row.model_copy(update={"messages": _masked_turns(row, result), "response": result.texts[-1]})
        for row, result in _kept_rows(rows, results)
    ]


def keep_pairs(pairs: Sequence[PreferencePair], results: Sequence[FilterResult]) -> list[PreferencePair]:
    """The pairs that stay, masked in prompt and both answers."""
    return [
        pair.model_copy(
            update={
                "messages": _masked_turns(pair, result),
                "chosen": result.texts[-1],
                "rejected": result.other_texts[0],
            },
        )
        for pair, result in _kept_rows(pairs, results)
    ]


def keep_prompts(prompts: Sequence[Prompt], results: Sequence[FilterResult]) -> list[Prompt]:
    """The prompts that stay, masked."""
    return [
        prompt.model_copy(update={"messages": _masked_turns(prompt, result)})
        for prompt, result in _kept_rows(prompts, results)
    ]


def build_data_card(results: Sequence[FilterResult], sifting: CurationSetup, options: CurationSpec) -> DataCard:
    """The training set's data card."""
    held = {name: len(texts) for name, texts in sifting.protected.items()}
    return data_card_builder.build_data_card(results, options, sifting.tools, held, sifting.uncovered)


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


def _masked_turns(row: Trained, result: FilterResult) -> tuple[Message, ...]:
    texts = result.texts[: len(row.messages)]
    return tuple(Message(role=message.role, content=text) for message, text in zip(row.messages, texts, strict=True))


def _kept_rows(rows: Sequence[T], results: Sequence[FilterResult]) -> Iterator[tuple[T, FilterResult]]:
    """The rows that stay, copies too, each with its result."""
    stay = {result.id: result for result in results if not result.dropped}
    return ((row, stay[original_row_id(row.id)]) for row in rows if original_row_id(row.id) in stay)


def _distinct_rows(rows: Sequence[Trained]) -> dict[str, Trained]:
    """Each row once, under its own id."""
    found: dict[str, Trained] = {}
    for row in rows:
        found.setdefault(original_row_id(row.id), row.model_copy(update={"id": original_row_id(row.id)}))
    return found
