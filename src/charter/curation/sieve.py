"""The sieve: rows in, what became of each out, and the card. Rows are read twice or three times and never kept."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from charter.curation.balance import length_group, quotas
from charter.curation.contamination import Contamination
from charter.curation.duplicates import Duplicates, table
from charter.curation.masking import mask
from charter.curation.records import DataCard, Filter, Group, Match, Row, Rows, Sifted, Tools
from charter.similarity import normal
from charter.spec.curating import Curating

FILTERS = ("contaminated", "exact duplicate", "near duplicate", "target", "language share", "length share")
"""The filters in their order; a row is left out by the first that takes it."""
_AT_ONCE = 256
_PLAIN = "unknown"
_GROUPS = ("sources", "languages", "lengths")


@dataclass
class Counts:
    """What a card counts, filled while the rows pass."""

    dropped: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    rows_masked: int = 0
    groups: dict[str, dict[tuple[str, str], list[int]]] = field(default_factory=lambda: {g: {} for g in _GROUPS})

    def add(self, sifted: Sifted) -> None:
        """One row more."""
        self.rows += 1
        if sifted.dropped:
            self.dropped[_filter(sifted.dropped)] += 1
        self.masked.update(sifted.masked)
        self.rows_masked += bool(sifted.masked)
        of = ((sifted.source, sifted.licence), (sifted.language, ""), (length_group(sifted.words), ""))
        for group, key in zip(_GROUPS, of, strict=True):
            counted = self.groups[group].setdefault((key[0] or _PLAIN, key[1]), [0, 0])
            counted[0] += 1
            counted[1] += not sifted.dropped

    def card(self, settings: dict[str, str]) -> DataCard:
        """The card."""
        left, filters = self.rows, []
        for name in FILTERS:
            filters.append(Filter(id=name, rows=left, dropped=self.dropped[name]))
            left -= self.dropped[name]
        tables = {
            group: tuple(Group(id=name, licence=licence, before=b, after=a) for (name, licence), (b, a) in found)
            for group, found in ((g, sorted(self.groups[g].items())) for g in _GROUPS)
        }
        return DataCard(
            rows=self.rows,
            kept=left,
            filters=tuple(filters),
            masked=dict(sorted(self.masked.items())),
            rows_masked=self.rows_masked,
            sources=tables["sources"],
            languages=tables["languages"],
            lengths=tuple(sorted(tables["lengths"], key=lambda g: int(g.id.split()[2]))),
            settings=settings,
        )


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
        judge = self.tools.judge if self.options.rejudge else None
        while batch := list(islice(rows, _AT_ONCE)):
            asked = [row for _, row, dropped, _ in batch if not dropped and row.asked] if judge else []
            said = dict(zip((row.id for row in asked), judge(asked), strict=True)) if judge else {}
            for number, row, dropped, match in batch:
                reason = "" if dropped else said.get(row.id, "")
                yield number, row, f"target: {reason}" if reason else dropped, match

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
            source=row.source,
            licence=row.licence,
            language=language,
            words=len(normal(row.whole).split()),
        )


def card_of(sifted: Iterable[Sifted], options: Curating, tools: Tools, against: Mapping[str, int]) -> DataCard:
    """The card of what was sifted. ``against``: how many texts each benchmark in use gave."""
    counts = Counts()
    for one in sifted:
        counts.add(one)
    return counts.card(settings(options, tools, against))


def settings(options: Curating, tools: Tools, against: Mapping[str, int]) -> dict[str, str]:
    """How rows are sifted, in words."""
    texts = ", ".join(f"{name} ({count} texts)" for name, count in against.items() if count)
    said = {
        "contaminated": f"{texts}; runs of {options.ngram} words, one word in {options.changed} altered"
        if options.decontaminate and texts
        else "not looked for",
        "duplicates": " and ".join(
            filter(None, ("exact" * options.exact, f"near (Jaccard {options.near:g})" if options.near else ""))
        )
        or "kept",
        "targets": "judged again" if options.rejudge else "not judged again",
        "masked by": "; ".join(r.identity for r in tools.recognisers) if options.mask else "",
        "languages": tools.tongue.identity if tools.tongue else "as the rows say",
        "shares": f"language at most {options.language_share:g}, length at most {options.length_share:g}",
    }
    return {name: value for name, value in said.items() if value}


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


def _filter(dropped: str) -> str:
    return "target" if dropped.startswith("target:") else dropped
