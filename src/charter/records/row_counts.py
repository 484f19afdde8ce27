"""Rows of files that were left out, and why."""

from __future__ import annotations

from collections import Counter

from charter.records.record import Record


class SkippedRow(Record):
    """A row that was left out, and why."""

    id: str
    reason: str


class RowCount(Record):
    """What the reading of one source gave: ``rows`` of its files, ``used`` of them. ``empty``: files without a row;
    ``unread``: files of the folder that hold no data."""

    id: str
    rows: int
    used: int
    left_out: tuple[SkippedRow, ...] = ()
    empty: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def reasons(self) -> dict[str, int]:
        """How many rows were left out, by reason."""
        return dict(Counter(row.reason for row in self.left_out))

    @property
    def summary(self) -> str:
        """The count in words."""
        told = [f"{self.rows:,} rows read, {self.used:,} used"]
        if self.left_out:
            reasons = "; ".join(f"{count:,} {reason}" for reason, count in self.reasons.items())
            told.append(f"{len(self.left_out):,} left out ({reasons})")
        told += [f"{file} is empty: it gives no row" for file in self.empty]
        if self.unread:
            told.append(f"not read: {', '.join(self.unread)!s:.200}")
        return ", ".join(told)
