"""The sieve: rows in, what became of each out. Rows are read twice or three times and never kept."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from charter.curation.balance import length_group, quotas
from charter.curation.carding import EARLIER
from charter.curation.contamination import Contamination
from charter.curation.duplicates import Duplicates, table
from charter.curation.masking import mask
from charter.curation.records import Match, Row, Rows, Sifted, Tools
from charter.similarity import normal
from charter.spec.curating import Curating

_AT_ONCE = 256


@dataclass(frozen=True)
class Sieve:
    """How rows are sifted. ``against``: the texts of benchmarks in use; ``place``: a file for what must be remembered
    (memory where there is none), deleted at the end."""

    options: Curating
    against: Contamination
    tools: Tools = field(default_factory=Tools)
    place: Path | None = None

    def sift(self, rows: Rows) -> Iterator[Sifted]:
        """What became of each row, in order. Raises EngineError where a tool is missing."""
        with table(self.place) as kept:
            kept.execute(
                "CREATE TABLE fate (row INTEGER PRIMARY KEY, dropped TEXT, name TEXT, how TEXT, text TEXT, "
                "language TEXT, length TEXT, mark BLOB)"
            )
            duplicates = Duplicates(kept, self.options.near)
            if self.options.near is not None:
                duplicates.count(row.whole for row in rows())
            for number, row, dropped, match in self._judged(self._first(rows(), duplicates)):
                language = row.language or (self.tools.tongue.of(row.whole) if self.tools.tongue else "")
                words = len(normal(row.whole).split())
                mark = hashlib.blake2b(row.id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                found = (match.name, match.how, match.text) if match else (None, None, None)
                values = (number, dropped, *found, language, length_group(words), mark)
                kept.execute("INSERT INTO fate VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
            _balance(kept, self.options)
            for number, row in enumerate(rows()):
                yield self._fate(kept, number, row)

    def _first(self, rows: Iterator[Row], duplicates: Duplicates) -> Iterator[tuple[int, Row, str, Match | None]]:
        """Contamination and duplicates; what is contaminated makes nothing else a duplicate."""
        options = self.options
        for number, row in enumerate(rows):
            if options.decontaminate and (match := self.against.find(row.written, *row.parts)):
                yield number, row, "contaminated", match
                continue
            earlier = duplicates.first(number, row.whole) if options.exact or options.near is not None else None
            if earlier is not None:
                how = earlier[1] if options.exact else "near"
                yield number, row, f"{how} duplicate", Match(name=f"row {earlier[0] + 1}", how=earlier[1])
            else:
                yield number, row, "", None

    def _judged(
        self, rows: Iterator[tuple[int, Row, str, Match | None]]
    ) -> Iterator[tuple[int, Row, str, Match | None]]:
        """Targets judged again, many at once."""
        judge = self.tools.judge
        while batch := list(islice(rows, _AT_ONCE)):
            asked = [row for _, row, dropped, _ in batch if not dropped and self._asks(row)]
            said = dict(zip((row.id for row in asked), judge(asked), strict=True)) if judge and asked else {}
            for number, row, dropped, match in batch:
                reason = "" if dropped else said.get(row.id, "")
                yield number, row, f"target: {reason}" if reason else dropped, match

    def _asks(self, row: Row) -> bool:
        """Whether a row has a target that is judged again."""
        return self.options.rejudge and self.tools.judge is not None and row.asked > 0

    def _fate(self, kept: sqlite3.Connection, number: int, row: Row) -> Sifted:
        asked = "SELECT dropped, name, how, text, language FROM fate WHERE row = ?"
        dropped, name, how, text, language = kept.execute(asked, (number,)).fetchone()
        counts: Counter[str] = Counter()
        texts: Sequence[str] = (*row.texts, *row.beside)
        if self.options.mask and not dropped:
            masked = [mask(text, self.tools.recognisers) for text in texts]
            texts = [text for text, _ in masked]
            counts.update(kind for _, found in masked for kind in found.elements())
        return Sifted(
            id=row.id,
            dropped=dropped,
            match=Match(name=name, how=how, text=text) if name is not None else None,
            masked=dict(sorted(counts.items())),
            texts=() if dropped else tuple(texts[: len(row.texts)]),
            beside=() if dropped else tuple(texts[len(row.texts) :]),
            judged=self._asks(row) and dropped not in EARLIER,
            source=row.source,
            licence=row.licence,
            language=language,
            words=len(normal(row.whole).split()),
        )


def _balance(kept: sqlite3.Connection, options: Curating) -> None:
    """Leaves out rows of groups that have more than their share, until both shares hold: what is cut for one share
    changes the other."""
    shares = {"language": options.language_share, "length": options.length_share}
    while any([_cut(kept, column, share) for column, share in shares.items() if share < 1]):
        pass


def _cut(kept: sqlite3.Connection, column: str, share: float) -> bool:
    """Leaves out the rows of a group over its share, by the hash of their ids; whether any was."""
    asked = f"SELECT {column}, COUNT(*) FROM fate WHERE dropped = '' GROUP BY {column}"
    counts = {str(name): int(count) for name, count in kept.execute(asked)}
    over = {name: quota for name, quota in quotas(counts, share).items() if quota < counts[name]}
    for name, quota in over.items():
        kept.execute(
            f"UPDATE fate SET dropped = ? WHERE row IN (SELECT row FROM fate WHERE dropped = '' AND {column} = ? "
            "ORDER BY mark, row LIMIT -1 OFFSET ?)",
            (f"{column} share", name, quota),
        )
    return bool(over)
