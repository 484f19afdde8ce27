"""What no generated prompt may be. Each filter has a name, under which its work is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from charter.similarity.spelling import begins_with_letter, count_words, normalize_text
from charter.similarity.splits import LeakageFilter
from charter.spec import SelfInstructSpec

TOO_SHORT, TOO_LONG, NEEDS_MEDIA, NO_LETTER_FIRST = (
    "too few words",
    "too many words",
    "needs other media",
    "does not begin with a letter",
)
EXACT_DUPLICATE, NEAR_DUPLICATE, LEAKED = "exact duplicate", "near-duplicate", "close to gate or held-out"
BANDS, ROWS_PER_BAND = 64, 4
"""MinHash bands and rows in a band. A pair with ROUGE-L F above .7 has a Jaccard similarity of words (counted with
their repetitions) of at least .54, and becomes a candidate with a probability of at least .996; one at .2 with .10."""


def find_text_fault(text: str, options: SelfInstructSpec) -> str:
    """The first filter on the text alone that it fails; empty where it passes."""
    count = count_words(text)
    if count < options.min_words:
        return TOO_SHORT
    if count > options.max_words:
        return TOO_LONG
    if not begins_with_letter(text):
        return NO_LETTER_FIRST
    words = f" {normalize_text(text)} "
    return NEEDS_MEDIA if any(f" {banned} " in words for banned in map(normalize_text, options.media) if banned) else ""


def rouge_l(first: Sequence[str], second: Sequence[str]) -> float:
    """ROUGE-L F1 of two texts as words: twice their longest common subsequence over the sum of their lengths (Lin,
    2004)."""
    return _rouge_l_f1(_position_bits(first), len(first), second)


class DuplicatePool:
    """Texts so far. Tells whether a text is one of them again or a near-duplicate of one: ROUGE-L F above ``near``,
    reckoned on MinHash candidates alone, so that the work is near linear in the number of texts. ``before``: a pool
    whose texts count too, and which stays as it is."""

    def __init__(self, near: float, texts: Iterable[str] = (), before: DuplicatePool | None = None) -> None:
        self._rouge_limit, self._before = near, before
        self._words: dict[str, list[str]] = {}
        for text in texts:
            self.add(text)

    @cached_property
    def _index(self) -> Any:
        from datasketch import MinHashLSH

        return MinHashLSH(num_perm=BANDS * ROWS_PER_BAND, params=(BANDS, ROWS_PER_BAND))

    def find_duplicate(self, text: str) -> str:
        """``exact duplicate``, ``near-duplicate``, or empty where it is neither."""
        key, pools = normalize_text(text), [self] if self._before is None else [self._before, self]
        if any(key in pool._words for pool in pools):
            return EXACT_DUPLICATE
        words = key.split()
        signature = _minhash(words)
        return NEAR_DUPLICATE if any(pool._has_near_duplicate(words, signature) for pool in pools) else ""

    def _has_near_duplicate(self, words: Sequence[str], signature: Any) -> bool:
        """Whether a near-duplicate of these words is among its own texts."""
        if not self._words:
            return False
        places, size = _position_bits(words), len(words)
        for other in self._index.query(signature):
            found = self._words[other]
            least, total = min(size, len(found)), size + len(found)
            if 2 * least > self._rouge_limit * total and _rouge_l_f1(places, size, found) > self._rouge_limit:
                return True
        return False

    def add(self, text: str) -> None:
        """Takes a text in; one that is there already changes nothing."""
        key = normalize_text(text)
        if key not in self._words:
            self._words[key] = key.split()
            self._index.insert(key, _minhash(self._words[key]))


class PromptFilters:
    """All filters in their order, over a pool that grows with what passes."""

    def __init__(self, pool: DuplicatePool, guard: LeakageFilter, options: SelfInstructSpec) -> None:
        self._pool, self._guard, self._options = pool, guard, options

    def admit(self, text: str) -> str:
        """The filter that a text fails; empty where it passes, and is in the pool from now on."""
        found = find_text_fault(text, self._options) or self._pool.find_duplicate(text)
        found = found or (LEAKED if self._guard.is_protected(text) else "")
        if not found:
            self._pool.add(text)
        return found


def distinct_n(texts: Iterable[str], size: int) -> float:
    """Distinct-n: different word n-grams over all n-grams (Li et al., 2016); 0 where there are none."""
    grams = [
        tuple(words[i : i + size]) for words in map(_normalized_words, texts) for i in range(len(words) - size + 1)
    ]
    return len(set(grams)) / len(grams) if grams else 0.0


def _normalized_words(text: str) -> list[str]:
    return normalize_text(text).split()


def _minhash(words: Sequence[str]) -> Any:
    """MinHash over the words, the second "the" of a text apart from the first."""
    from datasketch import MinHash

    seen: Counter[str] = Counter()
    parts = [b"-"]  # so that a text without words has a signature
    for word in words:
        seen[word] += 1
        parts.append(f"{word} {seen[word]}".encode())
    found = MinHash(num_perm=BANDS * ROWS_PER_BAND)
    found.update_batch(parts if len(parts) == 1 else parts[1:])
    return found


def _position_bits(words: Sequence[str]) -> dict[str, int]:
    """Where each word stands, as bits."""
    found: dict[str, int] = {}
    for place, word in enumerate(words):
        found[word] = found.get(word, 0) | 1 << place
    return found


def _rouge_l_f1(places: dict[str, int], size: int, other: Sequence[str]) -> float:
    """ROUGE-L F1, the longest common subsequence taken bit-parallel (Hyyrö, 2004)."""
    full = (1 << size) - 1
    state = full
    for word in other:
        if at := places.get(word):
            common = state & at
            state = ((state + common) | (state - common)) & full
    total = size + len(other)
    return 2 * (size - state.bit_count()) / total if total else 0.0
