"""The data of a run: the sets of prompts that it asked, with counts, sources, licences and a digest of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from charter.records.chat import Exchange, Prompt
from charter.records.record import digest
from charter.runs.reader import RunReader

_PROMPT_STEPS = {"prompts": "red team, train", "helpful": "ordinary, for replay"}
_ANSWERED = "_exchanges"
_SPLITS = {"gate": "gate, decides", "heldout": "held-out, only scored"}


@dataclass(frozen=True)
class SourceCount:
    """Prompts of one source under one licence; the licence is empty where nothing states it."""

    source: str
    licence: str
    count: int


@dataclass(frozen=True)
class PromptSet:
    """A set of prompts of a run. ``digest``: SHA-256 of the prompts, whoever answered them. Two runs that asked the
    same have the same."""

    name: str
    step: str
    count: int
    digest: str
    sources: tuple[SourceCount, ...]


def read_prompt_sets(reading: RunReader) -> list[PromptSet]:
    """The sets that a run drew, and those that it was measured on, each as it was first used. Raises DamagedError."""
    found: dict[str, PromptSet] = {}
    for step in reading.steps:
        name, prompts = _read_prompts(reading, step)
        if prompts and name not in found:
            found[name] = PromptSet(name, step, len(prompts), digest(prompts), tuple(_count_sources(prompts)))
    return list(found.values())


def _read_prompts(reading: RunReader, step: str) -> tuple[str, Sequence[Prompt]]:
    """The name of a step's set, and its prompts; none where it holds another thing."""
    folder, _, name = step.partition("/")
    if folder == "000" and name in _PROMPT_STEPS:
        return _PROMPT_STEPS[name], reading.records(step, Prompt)
    split = name.removesuffix(_ANSWERED)
    if name.endswith(_ANSWERED) and (split in _SPLITS or split.startswith(("bench_", "gate_bench_"))):
        return _SPLITS.get(split, split), [exchange.prompt for exchange in reading.records(step, Exchange)]
    return "", ()


def _count_sources(prompts: Sequence[Prompt]) -> Iterator[SourceCount]:
    counted = Counter((prompt.source, prompt.meta.get("licence", "")) for prompt in prompts)
    for (source, licence), count in counted.most_common():
        yield SourceCount(source, licence, count)
