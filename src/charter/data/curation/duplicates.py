"""Exact and near duplicates in a stream: the first of several stays, and memory does not grow with the stream.

Near-duplicates are found exactly (Jaccard of word trigrams), by the prefix filtering of ``similarity``: two near texts
share one of their rarest shingles, in whatever order of rarity both are told by. The order comes from a table of counts
of fixed size, filled in a first reading; which row holds which shingle lies in SQLite, on disk where a place is given.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from charter.similarity.spelling import normalize_text
from charter.similarity.splits import shingles

COUNTER_SLOTS = 1 << 21
"""Counts of the first reading; two shingles that share one only make the order a little worse."""
_QUERY_SIZE = 500
"""Shingles in one question to the table."""


class DuplicateIndex:
    """Told texts in order; says which earlier one each repeats. ``threshold`` None: exact duplicates alone."""

    def __init__(self, table: sqlite3.Connection, threshold: float | None) -> None:
        self._table, self._threshold = table, threshold
        self._counts = array("I", bytes(4 * COUNTER_SLOTS)) if threshold is not None else array("I")
        table.execute("CREATE TABLE said (mark BLOB PRIMARY KEY, row INTEGER) WITHOUT ROWID")
        table.execute("CREATE TABLE holder (part INTEGER, row INTEGER, PRIMARY KEY (part, row)) WITHOUT ROWID")
        table.execute("CREATE TABLE parts (row INTEGER PRIMARY KEY, held BLOB)")

    def count_shingles(self, texts: Iterable[str]) -> None:
        """The first reading."""
        if self._threshold is None:
            return
        counts = self._counts
        for text in texts:
            for part in _shingle_hashes(text):
                place = part % COUNTER_SLOTS
                if counts[place] < 0xFFFFFFFF:
                    counts[place] += 1

    def find_earlier(self, row: int, text: str) -> tuple[int, str] | None:
        """The earlier row that a text repeats, and how (``exact`` or ``near``); None where it is new, and remembered
        as row ``row``."""
        plain = normalize_text(text) or text.strip()
        mark = hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        found = self._table.execute("SELECT row FROM said WHERE mark = ?", (mark,)).fetchone()
        if found is not None:
            return int(found[0]), "exact"
        if self._threshold is not None and normalize_text(text):
            parts = _shingle_hashes(text)
            rare = self._rarest(parts)
            near = self._find_near(parts, rare)
            if near is not None:
                return near, "near"
            self._table.executemany("INSERT INTO holder VALUES (?, ?)", [(part, row) for part in rare])
            self._table.execute("INSERT INTO parts VALUES (?, ?)", (row, array("q", sorted(parts)).tobytes()))
        self._table.execute("INSERT INTO said VALUES (?, ?)", (mark, row))
        return None

    def _rarest(self, parts: frozenset[int]) -> list[int]:
        assert self._threshold is not None
        least = math.ceil(self._threshold * len(parts) - 1e-9)
        order = sorted(parts, key=lambda part: (self._counts[part % COUNTER_SLOTS], part))
        return order[: len(parts) - least + 1]

    def _find_near(self, parts: frozenset[int], rare: list[int]) -> int | None:
        """The first row that is near."""
        assert self._threshold is not None
        others: set[int] = set()
        for start in range(0, len(rare), _QUERY_SIZE):
            asked = rare[start : start + _QUERY_SIZE]
            marks = ",".join("?" * len(asked))
            others.update(r[0] for r in self._table.execute(f"SELECT row FROM holder WHERE part IN ({marks})", asked))
        low, high = self._threshold * len(parts) - 1e-9, len(parts) / self._threshold + 1e-9
        for other in sorted(others):
            (held,) = self._table.execute("SELECT held FROM parts WHERE row = ?", (other,)).fetchone()
            if not low <= len(held) / 8 <= high:
                continue
            theirs = array("q", held)
            common = sum(part in parts for part in theirs)
            if common / (len(parts) + len(theirs) - common) >= self._threshold:
                return other
        return None


@contextmanager
def open_scratch_table(place: Path | None) -> Iterator[sqlite3.Connection]:
    """A table that is thrown away: in the file ``place``, or in memory."""
    connection = sqlite3.connect(":memory:" if place is None else place)
    try:
        for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -65536", "temp_store = FILE"):
            connection.execute(f"PRAGMA {setting}")
        yield connection
    finally:
        connection.close()
        if place is not None:
            place.unlink(missing_ok=True)


def _shingle_hashes(text: str) -> frozenset[int]:
    """A text's shingles, each as a number of 63 bits."""
    return frozenset(
        int.from_bytes(hashlib.blake2b(part.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1
        for part in shingles(text)
    )
