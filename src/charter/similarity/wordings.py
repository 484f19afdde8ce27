"""When a prompt is another wording of one: what it holds, as marks that two wordings have in common.

A prompt's numbers are part of every mark but those of ``trigrams``: what has other numbers is another question."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import chain, groupby
from typing import Any

from charter.similarity.mark_sets import Marks, MarkSets
from charter.similarity.spelling import has_unspaced_script

CHARACTERS = 0.58
"""Prompts are two wordings of one from this Jaccard similarity of their runs of characters: a little less than the 0.6
of five letters that tells leaks."""
PAIRS = 2_000_000_000
"""So many pairs that share a rare run are looked at; up to a hundred thousand prompts that is all of them. Of more,
runs that the most prompts share bring none together; the guard around gate and held-out still finds those."""
RUN, SHORT_RUN = 5, 2
"""Characters in a run; and letters, in scripts without spaces."""
LONGEST = 400
"""Longer texts than so many characters are compared by words alone."""
FEWEST = 8
"""Of fewer words than these, one that is changed makes another prompt."""
BATCH_WORDS = 1 << 16
"""Texts of about so many words are marked together."""
_WEIGHTS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xFF51AFD7ED558CCD)
_BASE = 0xA0761D6478BD642F
_INVERSE = pow(_BASE, -1, 1 << 64)


class WordBatch:
    """Some texts, each by its words: ``hashes`` has a number for each word of the one after those of the other, and
    ``sizes`` how many words each has."""

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        import numpy as np

        self.texts = texts
        self.hashes = np.fromiter(map(_hash, chain.from_iterable(texts)), np.uint64)
        self.sizes = np.fromiter(map(len, texts), np.int64, len(texts))

    @cached_property
    def spelt(self) -> list[str]:
        """The words of each text with a space between each two."""
        return [" ".join(words) for words in self.texts]

    @cached_property
    def numbers(self) -> Any:
        """The numbers of each text, in any order, as one number."""
        import numpy as np

        held = (" ".join(sorted(filter(str.isdecimal, words))) for words in self.texts)
        return np.fromiter(map(_hash, held), np.uint64, len(self.texts))


def cut_batches(texts: Iterable[Sequence[str]]) -> Iterator[WordBatch]:
    """Texts by their words, some at a time."""
    held: list[Sequence[str]] = []
    count = 0
    for words in texts:
        held.append(words)
        count += len(words) + 1
        if count > BATCH_WORDS:
            yield WordBatch(held)
            held, count = [], 0
    yield WordBatch(held)


def word_trigrams(batch: WordBatch) -> MarkSets:
    """Of each text every three words in a row; the whole where there are no more than three."""
    import numpy as np

    marks, counts = _sum_runs(batch.hashes, batch.sizes, 3)
    short = np.repeat(batch.sizes, counts)
    marks[short < 3] += short[short < 3].astype(marks.dtype)
    return _sort_each(marks, counts)


def character_grams(batch: WordBatch) -> MarkSets:
    """Of each text every five characters in a row, spaces between words too; in scripts without spaces every two
    letters. None of a text without words, or of one that is longer than ``LONGEST``."""
    import numpy as np

    spaced, owners = list[str](), list[int]()
    letters, holders = list[list[str]](), list[int]()
    for number, text in enumerate(batch.spelt):
        if len(text) > LONGEST:
            continue
        if not has_unspaced_script(text):
            spaced.append(text)
            owners.append(number)
            continue
        for apart, run in groupby(batch.texts[number], has_unspaced_script):
            if apart:
                letters.append(list(run))
                holders.append(number)
            else:
                spaced.append(" ".join(run))
                owners.append(number)
    codes = np.frombuffer("".join(spaced).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    marks, counts = _sum_runs(codes, np.array([len(text) for text in spaced], np.int64), RUN)
    places = np.repeat(np.array(owners, np.int64), counts)
    if letters:
        runs = WordBatch(letters)
        more, counts = _sum_runs(runs.hashes, runs.sizes, SHORT_RUN)
        places = np.concatenate((places, np.repeat(np.array(holders), counts)))
        order = np.argsort(places, kind="stable")
        marks, places = np.concatenate((marks, more))[order], places[order]
    return _sort_each(marks ^ batch.numbers[places], np.bincount(places, minlength=len(batch.texts)))


def leave_one_word_out(batch: WordBatch) -> MarkSets:
    """Each text, and the text without each one of its words: two texts share one of these where leaving out at most one
    word in each makes them equal. So a word is changed, added, left out, or moved. None of a text of fewer than
    ``FEWEST`` words, or in a script without spaces."""
    import numpy as np

    spaced = np.fromiter((not has_unspaced_script(text) for text in batch.spelt), bool, len(batch.texts))
    kept = (batch.sizes >= FEWEST) & spaced
    hashes, sizes = batch.hashes[np.repeat(kept, batch.sizes)], batch.sizes[kept]
    ends = np.cumsum(sizes)
    places = np.arange(len(hashes))
    powers = np.cumprod(np.full(sizes.max(initial=0), _BASE, np.uint64))[places - np.repeat(ends - sizes, sizes)]
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(hashes * powers)))
    without = sums[places] + (np.repeat(sums[ends], sizes) - sums[places + 1]) * np.uint64(_INVERSE)
    marks = np.insert(without, ends, sums[ends]) - np.repeat(sums[ends - sizes], sizes + 1)
    counts = np.where(kept, batch.sizes + 1, 0)
    return _sort_each(marks ^ np.repeat(batch.numbers, counts), counts)


def _sum_runs(units: Any, sizes: Any, size: int) -> tuple[Any, Any]:
    """Every so many units of each text in a row, as a number each, the whole of a shorter text; and how many of these
    each text has."""
    import numpy as np

    ends = np.cumsum(sizes)
    places = np.arange(len(units))
    left = np.repeat(ends, sizes) - places  # to the end of the text
    padded = np.append(units, np.zeros(size, np.uint64))
    totals = np.zeros(len(units), np.uint64)
    for n in range(size):
        totals += np.where(left > n, padded[n : n + len(units)] * np.uint64(_WEIGHTS[n]), np.uint64(0))
    is_run = (left >= size) | (places == np.repeat(ends - sizes, sizes))
    return totals[is_run], np.where(sizes > 0, np.maximum(sizes - size + 1, 1), 0)


def _sort_each(marks: Marks, counts: Any) -> MarkSets:
    """Sets of so many of the marks each: sorted, and each mark once."""
    import numpy as np

    ends = np.cumsum(counts)
    starts = ends - counts
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        marks[start:end].sort()
    first = np.ones(len(marks), bool)
    first[1:] = marks[1:] != marks[:-1]
    first[starts[counts > 0]] = True
    sums = np.concatenate((np.zeros(1, np.int64), np.cumsum(first)))
    return MarkSets(marks[first], np.concatenate((np.zeros(1, np.int64), sums[ends])))


@lru_cache(1 << 16)
def _hash(word: str) -> int:
    """A number that is the same in every process."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
