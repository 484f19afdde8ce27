"""The sieve: rows in, what became of each out. Rows are read twice or three times and never kept."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from charter.data.curation.balance import compute_quotas, length_group
from charter.data.curation.contamination import ContaminationIndex
from charter.data.curation.curation_records import CurationRow, CurationTools, FilterMatch, FilterResult, RowReader
from charter.data.curation.data_card_builder import EARLY_FILTERS
from charter.data.curation.duplicates import DuplicateIndex, open_scratch_table
from charter.data.curation.masking import mask_text
from charter.similarity.spelling import normalize_text
from charter.spec.curation_spec import CurationSpec

_JUDGE_BATCH = 256


@dataclass(frozen=True)
class FilterPipeline:
    """How rows are sifted. ``against``: the texts of benchmarks in use; ``place``: a file for what must be remembered
    (memory where there is none), deleted at the end."""

    options: CurationSpec
    contamination: ContaminationIndex
    tools: CurationTools = field(default_factory=CurationTools)
    scratch_file: Path | None = None

    def filter_rows(self, rows: RowReader) -> Iterator[FilterResult]:
        """What became of each row, in order. Raises EngineError where a tool is missing."""
        with open_scratch_table(self.scratch_file) as kept:
            kept.execute(
                "CREATE TABLE fate (row INTEGER PRIMARY KEY, dropped TEXT, name TEXT, how TEXT, text TEXT, "
                "language TEXT, length TEXT, mark BLOB)"
            )
            duplicates = DuplicateIndex(kept, self.options.near)
            if self.options.near is not None:
                duplicates.count_shingles(row.conversation for row in rows())
            for number, row, dropped, match in self._judge_targets(
                self._drop_contaminated_or_repeated(rows(), duplicates)
            ):
                language = row.language or (
                    self.tools.language_detector.detect(row.conversation) if self.tools.language_detector else ""
                )
                words = len(normalize_text(row.conversation).split())
                mark = hashlib.blake2b(row.id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                found = (match.name, match.how, match.text) if match else (None, None, None)
                values = (number, dropped, *found, language, length_group(words), mark)
                kept.execute("INSERT INTO fate VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
            _balance_groups(kept, self.options)
            for number, row in enumerate(rows()):
                yield self._filter_result(kept, number, row)

    def _drop_contaminated_or_repeated(
        self, rows: Iterator[CurationRow], duplicates: DuplicateIndex
    ) -> Iterator[tuple[int, CurationRow, str, FilterMatch | None]]:
        """Contamination and duplicates; what is contaminated makes nothing else a duplicate."""
        options = self.options
        for number, row in enumerate(rows):
            if options.decontaminate and (match := self.contamination.find(row.all_text, *row.separate_texts)):
                yield number, row, "contaminated", match
                continue
            earlier = (
                duplicates.find_earlier(number, row.conversation) if options.exact or options.near is not None else None
            )
            if earlier is not None:
                how = earlier[1] if options.exact else "near"
                yield number, row, f"{how} duplicate", FilterMatch(name=f"row {earlier[0] + 1}", how=earlier[1])
            else:
                yield number, row, "", None

    def _judge_targets(
        self, rows: Iterator[tuple[int, CurationRow, str, FilterMatch | None]]
    ) -> Iterator[tuple[int, CurationRow, str, FilterMatch | None]]:
        """Targets judged again, many at once."""
        judge = self.tools.judge_targets
        while batch := list(islice(rows, _JUDGE_BATCH)):
            asked = [row for _, row, dropped, _ in batch if not dropped and self._is_judged(row)]
            said = dict(zip((row.id for row in asked), judge(asked), strict=True)) if judge and asked else {}
            for number, row, dropped, match in batch:
                reason = "" if dropped else said.get(row.id, "")
                yield number, row, f"target: {reason}" if reason else dropped, match

    def _is_judged(self, row: CurationRow) -> bool:
        """Whether a row has a target that is judged again."""
        return self.options.rejudge and self.tools.judge_targets is not None and row.prompt_turns > 0

    def _filter_result(self, kept: sqlite3.Connection, number: int, row: CurationRow) -> FilterResult:
        asked = "SELECT dropped, name, how, text, language FROM fate WHERE row = ?"
        dropped, name, how, text, language = kept.execute(asked, (number,)).fetchone()
        counts: Counter[str] = Counter()
        texts: Sequence[str] = (*row.texts, *row.other_texts)
        if self.options.mask and not dropped:
            masked = [mask_text(text, self.tools.detectors) for text in texts]
            texts = [text for text, _ in masked]
            counts.update(kind for _, found in masked for kind in found.elements())
        return FilterResult(
            id=row.id,
            dropped=dropped,
            match=FilterMatch(name=name, how=how, text=text) if name is not None else None,
            masked=dict(sorted(counts.items())),
            texts=() if dropped else tuple(texts[: len(row.texts)]),
            other_texts=() if dropped else tuple(texts[len(row.texts) :]),
            judged=self._is_judged(row) and dropped not in EARLY_FILTERS,
            source=row.source,
            licence=row.licence,
            language=language,
            words=len(normalize_text(row.conversation).split()),
        )


def _balance_groups(kept: sqlite3.Connection, options: CurationSpec) -> None:
    """Leaves out rows of groups that have more than their share, until both shares hold: what is cut for one share
    changes the other."""
    shares = {"language": options.language_share, "length": options.length_share}
    while any([_cut_to_share(kept, column, share) for column, share in shares.items() if share < 1]):
        pass


def _cut_to_share(kept: sqlite3.Connection, column: str, share: float) -> bool:
    """Leaves out the rows of a group over its share, by the hash of their ids; whether any was."""
    asked = f"SELECT {column}, COUNT(*) FROM fate WHERE dropped = '' GROUP BY {column}"
    counts = {str(name): int(count) for name, count in kept.execute(asked)}
    over = {name: quota for name, quota in compute_quotas(counts, share).items() if quota < counts[name]}
    for name, quota in over.items():
        kept.execute(
            f"UPDATE fate SET dropped = ? WHERE row IN (SELECT row FROM fate WHERE dropped = '' AND {column} = ? "
            "ORDER BY mark, row LIMIT -1 OFFSET ?)",
            (f"{column} share", name, quota),
        )
    return bool(over)
