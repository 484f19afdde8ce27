"""Clusters of prompts are the same however small the parts are in which they are compared."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, overload

import pytest

from charter.records.chat import Message, Prompt, user_prompt
from charter.similarity.prompt_clusters import cluster_prompts
from charter.similarity.splits import LeakageFilter, find_splits, split_prompts
from tests.similarity.small_parts import make_parts_small

WORDS = [f"w{n}" for n in range(60)]


def make_prompts(source: random.Random) -> Iterator[Prompt]:
    """Prompts of every kind: alone, reworded, repeated, of a world, of a template, of a form, and conversations."""
    for n in range(60):
        words = source.choices(WORDS, k=source.randint(1, 24))
        text = " ".join(words)
        yield user_prompt(text, n)
        words[source.randrange(len(words))] = source.choice(WORDS)
        yield user_prompt(" ".join(words), n, source.choice(["", "world:some"]))
        yield user_prompt(text.upper(), n, **({"template": f"t{n % 7}"} if n % 5 == 0 else {}))
        turns: list[tuple[Any, str]] = [("user", text), ("assistant", "why"), ("user", source.choice(WORDS))]
        messages = tuple(Message(role=role, content=content) for role, content in turns)
        yield user_prompt(text, 100 + n).model_copy(update={"messages": messages})
        yield user_prompt(f"how would one use the {WORDS[n]} in order to move a {WORDS[-n]}", n)


class ReadPrompts(Sequence[Prompt]):
    """Prompts that are read anew whenever one is asked for."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self._lines = [prompt.model_dump_json() for prompt in prompts]

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, place: int) -> Prompt: ...

    @overload
    def __getitem__(self, place: slice) -> list[Prompt]: ...

    def __getitem__(self, place: int | slice) -> Prompt | list[Prompt]:
        assert not isinstance(place, slice), "one at a time"
        return Prompt.model_validate_json(self._lines[place])


@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_small_parts_make_the_same_clusters_splits_and_forms(threshold: float, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = list(make_prompts(random.Random(2)))
    clusters, parts = cluster_prompts(prompts, threshold), split_prompts(prompts, threshold)
    guarded = LeakageFilter(parts["gate"], threshold).find_leaked(prompts)
    assert 20 < len(set(clusters)) < 200
    assert any("form" in prompt.meta for part in parts.values() for prompt in part)
    make_parts_small(monkeypatch)
    assert cluster_prompts(prompts, threshold) == clusters
    assert split_prompts(prompts, threshold) == parts
    assert LeakageFilter(parts["gate"], threshold).find_leaked(prompts) == guarded
    assert any(guarded)
    assert not all(guarded)


def test_the_splits_of_prompts_that_are_read_when_they_are_asked_for() -> None:
    prompts = list(make_prompts(random.Random(3)))
    splits, forms = find_splits(ReadPrompts(prompts), 0.8)
    parts = split_prompts(prompts, 0.8)
    told = {split: [p for p, s in zip(prompts, splits, strict=True) if s == split] for split in parts}
    assert {split: [p.id for p in part] for split, part in told.items()} == {
        split: [p.id for p in part] for split, part in parts.items()
    }
    assert [str(size) for size in forms if size] == ["60"] * 60


def test_no_prompts_have_no_clusters() -> None:
    assert cluster_prompts([], 0.8) == []
    assert split_prompts([], 0.8) == {"train": [], "gate": [], "heldout": []}
