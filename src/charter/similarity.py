"""Near-duplicates: what counts as the same prompt, the split by cluster, and the guard around gate and held-out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from charter.nouns import Prompt, Split, digest

if TYPE_CHECKING:
    from datasketch import MinHash, MinHashLSH

SPLIT_SALT = "charter-split-1"
"""Fixed, and independent of a run's seed: a prompt stays in its split for ever."""

SHARES: tuple[tuple[Split, float], ...] = (("train", 0.6), ("gate", 0.15), ("heldout", 0.25))
PERMUTATIONS = 128
SHINGLE = 3


def normal(text: str) -> str:
    """Lower case, words only: what near-duplicates are compared by."""
    return " ".join(re.findall(r"\w+", text.lower()))


def shingles(text: str) -> frozenset[str]:
    """Word trigrams of the normalised text (the whole text where it is shorter)."""
    words = normal(text).split()
    if len(words) <= SHINGLE:
        return frozenset((" ".join(words),))
    return frozenset(" ".join(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Share of common shingles."""
    return len(a & b) / len(a | b) if a | b else 1.0


class Guard:
    """Knows protected prompts; ``clear`` keeps only prompts that are no near-duplicate of any of them.

    Candidates come from MinHash-LSH and are confirmed by exact Jaccard on word trigrams, so that it is near linear in
    the number of prompts."""

    def __init__(self, protected: Sequence[Prompt], threshold: float) -> None:
        self._protected = tuple(protected)
        self._threshold = threshold
        self.identity = digest([threshold, SHINGLE, PERMUTATIONS, sorted(normal(p.text) for p in protected)])

    @cached_property
    def _index(self) -> tuple[MinHashLSH, dict[str, frozenset[str]]]:
        return _indexed({normal(p.text): shingles(p.text) for p in self._protected}, self._threshold)

    def close_to(self, text: str) -> bool:
        """Whether a text is a near-duplicate of a protected prompt."""
        index, known = self._index
        own = shingles(text)
        return normal(text) in known or any(
            jaccard(own, known[key]) >= self._threshold for key in index.query(_minhash(own))
        )

    def clear(self, prompts: Iterable[Prompt]) -> list[Prompt]:
        """The prompts that are close to no protected one, in order."""
        return [prompt for prompt in prompts if not self.close_to(prompt.text)]


def split_prompts(prompts: Sequence[Prompt], threshold: float) -> dict[Split, list[Prompt]]:
    """Train, gate and held-out by near-duplicate cluster: all of a cluster falls into one split, by a salted hash."""
    texts = {normal(p.text): shingles(p.text) for p in prompts}
    index, known = _indexed(texts, threshold)
    leader: dict[str, str] = {}
    for text, own in sorted(texts.items()):
        near = [key for key in index.query(_minhash(own)) if jaccard(own, known[key]) >= threshold]
        roots = {_root(leader, key) for key in [text, *near]}
        first = min(roots)
        leader.update({root: first for root in roots})
    out: dict[Split, list[Prompt]] = {"train": [], "gate": [], "heldout": []}
    for prompt in prompts:
        out[_split_of(_root(leader, normal(prompt.text)))].append(prompt)
    return out


def _root(leader: dict[str, str], key: str) -> str:
    while leader.get(key, key) != key:
        key = leader[key]
    return key


def _split_of(key: str) -> Split:
    place = int(digest(f"{SPLIT_SALT}|{key}")[:12], 16) / 16**12
    for split, share in SHARES:
        if place < share:
            return split
        place -= share
    return "heldout"


def _minhash(parts: frozenset[str]) -> MinHash:
    from datasketch import MinHash

    made = MinHash(num_perm=PERMUTATIONS, seed=1)
    made.update_batch([part.encode() for part in sorted(parts)])
    return made


def _indexed(texts: dict[str, frozenset[str]], threshold: float) -> tuple[MinHashLSH, dict[str, frozenset[str]]]:
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold=max(0.1, threshold - 0.1), num_perm=PERMUTATIONS)
    for key, parts in texts.items():
        index.insert(key, _minhash(parts), check_duplication=False)
    return index, texts
