"""When a prompt is another wording of one: what it holds, as marks that two wordings have in common.

A prompt's numbers are part of every mark but those of ``trigrams``: what has other numbers is another question."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

from charter.similarity.mark_sets import Marks, unique_marks
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
_WEIGHTS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xFF51AFD7ED558CCD)
_BASE = 0xA0761D6478BD642F
_BITS = (1 << 64) - 1
_INVERSE = pow(_BASE, -1, 1 << 64)


def word_trigrams(words: Sequence[str]) -> Marks:
    """Every three words in a row; the whole where there are no more than three."""
    if not words:
        return _none()
    marks = _hash_words(words)
    return _runs(marks, 3) if len(words) >= 3 else _runs(marks, len(words)) + _number(len(words))


def character_grams(words: Sequence[str]) -> Marks:
    """Every five characters in a row, spaces between words too; in scripts without spaces every two letters. None of a
    text without words, or of one that is longer than ``LONGEST``."""
    import numpy as np

    text = " ".join(words)
    if not text or len(text) > LONGEST:
        return _none()
    parts = []
    for apart, run in groupby(words, has_unspaced_script) if has_unspaced_script(text) else ((False, words),):
        held = list(run)
        units = (
            _hash_words(held) if apart else np.frombuffer(" ".join(held).encode("utf-32-le", "surrogatepass"), "<u4")
        )
        size = SHORT_RUN if apart else RUN
        parts.append(_runs(units.astype(np.uint64), min(size, len(units))))
    return unique_marks(np.concatenate(parts) ^ _numbers(words))


def leave_one_word_out(words: Sequence[str]) -> Marks:
    """The text, and the text without each one of its words: two texts share one of these where leaving out at most one
    word in each makes them equal. So a word is changed, added, left out, or moved. None of a text of fewer than
    ``FEWEST`` words, or in a script without spaces."""
    import numpy as np

    if len(words) < FEWEST or has_unspaced_script(" ".join(words)):
        return _none()
    powers = np.cumprod(np.full(len(words), _BASE, np.uint64))
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(_hash_words(words) * powers)))
    without = sums[:-1] + (sums[-1] - sums[1:]) * np.uint64(_INVERSE)
    return unique_marks(np.append(without, sums[-1]) ^ _numbers(words))


def _numbers(words: Sequence[str]) -> Any:
    """The numbers of a text, in any order, as one number."""
    return _number(_hash(" ".join(sorted(word for word in words if word.isdecimal()))))


def _runs(units: Marks, size: int) -> Marks:
    """Every so many units in a row, as a number each."""
    import numpy as np

    total = np.zeros(len(units) - size + 1, np.uint64)
    for n in range(size):
        total += units[n : len(units) - size + 1 + n] * np.uint64(_WEIGHTS[n])
    return unique_marks(total)


def _hash_words(words: Sequence[str]) -> Marks:
    import numpy as np

    return np.fromiter(map(_hash, words), np.uint64, len(words))


@lru_cache(1 << 16)
def _hash(word: str) -> int:
    """A number that is the same in every process."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _number(value: int) -> Any:
    import numpy as np

    return np.uint64(value & _BITS)


def _none() -> Marks:
    import numpy as np

    return np.zeros(0, np.uint64)
