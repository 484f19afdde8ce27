"""What a run is about to read, told before anything is asked: rows by source, and prompts as the model reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from charter.errors import CharterError
from charter.ports import Source
from charter.records.chat import Prompt
from charter.records.model_refs import ModelRef
from charter.records.row_counts import RowCount
from charter.spec import Spec
from charter.wiring import role_models

if TYPE_CHECKING:
    from charter.models.chat_format import ChatFormat

SHOWN, LENGTH = 3, 600
"""Prompts that are shown, and characters of each."""


def count_rows(sources: Iterable[Source]) -> list[RowCount]:
    """What the reading of each source of files gave, in order; a world's prompts are no rows. Raises SpecError."""
    from charter.data.sources.source_prompts import SourcePrompts

    found = [source for source in sources if isinstance(source, SourcePrompts)]
    return distinguish_counts([source.count.model_copy(update={"id": source.name}) for source in found])


def distinguish_counts(counts: Iterable[RowCount]) -> list[RowCount]:
    """The same counts, a name that occurs again with a number."""
    named: dict[str, RowCount] = {}
    for count in counts:
        name, number = count.id, 2
        while name in named:
            name, number = f"{count.id} ({number})", number + 1
        named[name] = count.model_copy(update={"id": name})
    return list(named.values())


def find_losses(counts: Sequence[RowCount]) -> list[RowCount]:
    """The counts of sources that left out a row or a file."""
    return [count for count in counts if count.left_out or count.empty or count.unread]


def preview_prompts(
    spec: Spec, start: ModelRef, sources: Sequence[Source], counts: Sequence[RowCount]
) -> dict[str, Any]:
    """The first prompts as the target will read them, and how many its chat template refuses. No weights load.
    ``counts``: what the reading of every file gave."""
    if not counts:
        return {}
    told: dict[str, Any] = {"rows": {count.id: count.summary for count in counts}}
    if not count_rows(sources):
        return told
    prompts = [prompt for source in sources for prompt in source.prompts()]
    try:
        dialogue = None if spec.target.by_http else role_models.build_local_engine(spec, start).dialogue()
    except CharterError as error:
        return told | {"first_prompts": _turns(prompts), "template": f"not read: {error.message:.200}"}
    if dialogue is None:
        return told | {"first_prompts": _turns(prompts), "template": "the server's own"}
    refused, reason = _refused(dialogue, prompts)
    words = f"{sum(refused.values())} of {len(prompts)} prompts are refused by the target's chat template"
    answer = f"{words}: {reason:.200}" if refused else f"none of {len(prompts)} prompts is refused"
    if joined := sum(map(_repeats_a_speaker, prompts)) if dialogue.joins else 0:
        answer += f"; the template refuses two turns of one speaker in a row, so they are joined in {joined} of them"
    return told | {
        "first_prompts": {str(n): _rendered(dialogue, p) for n, p in enumerate(prompts[:SHOWN], 1)},
        "template": answer,
    }


def _repeats_a_speaker(prompt: Prompt) -> bool:
    return any(one.role == other.role for one, other in pairwise(prompt.messages))


def _refused(dialogue: ChatFormat, prompts: Sequence[Prompt]) -> tuple[Counter[tuple[str, ...]], str]:
    """How many prompts the template refuses, by the order of their speakers, and its words. One of each order is put to
    it."""
    orders = Counter(tuple(message.role for message in prompt.messages) for prompt in prompts)
    examples = {tuple(message.role for message in prompt.messages): prompt for prompt in reversed(prompts)}
    refused, reason = Counter[tuple[str, ...]](), ""
    for order, count in orders.items():
        try:
            dialogue.encode_prompt(examples[order].messages)
        except ValueError as error:
            refused[order] = count
            reason = reason or f"{' then '.join(order)}: {error}"
    return refused, reason


def _rendered(dialogue: ChatFormat, prompt: Prompt) -> str:
    try:
        text = str(dialogue.tokenizer.decode(dialogue.encode_prompt(prompt.messages)))
    except ValueError as error:
        return f"(refused: {error!s:.200})"
    return text if len(text) <= LENGTH else f"{text[:LENGTH]} [...]"


def _turns(prompts: Sequence[Prompt]) -> dict[str, str]:
    shown = ("\n".join(f"{m.role}: {m.content}" for m in prompt.messages) for prompt in prompts[:SHOWN])
    return {str(n): text if len(text) <= LENGTH else f"{text[:LENGTH]} [...]" for n, text in enumerate(shown, 1)}
