"""What a run takes of a store of feedback when it begins: rows that may be used, and what is made of them. Rows that
come later do not change it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from charter import spec as specs
from charter.data.exports.feedback_rows import Row, make_attempt_rows, make_pair_rows, make_rated_rows, rows_to_lines
from charter.data.sources.feedback_files import read_stored_rows
from charter.errors import SpecError
from charter.jobs.feedback_intake import open_feedback_store
from charter.records.feedback import SNAPSHOT_ATTEMPTS, SNAPSHOT_PAIRS, SNAPSHOT_RATINGS, SNAPSHOT_ROWS, FeedbackRow
from charter.records.record import digest

SQLITE_BEGINNING = b"SQLite format 3\0"


@dataclass(frozen=True)
class FeedbackSnapshot:
    """Rows that a run takes in, in the order of their ids.

    Args:
        rows: The rows, each with consent.
        without_consent: How many rows were left out for want of consent.
        erased: How many had been erased.
        named: How many were left out by their ids.
    """

    rows: tuple[FeedbackRow, ...]
    without_consent: int = 0
    erased: int = 0
    named: int = 0
    attempts: list[Row] = field(init=False)
    pairs: list[Row] = field(init=False)
    ratings: list[Row] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "attempts", make_attempt_rows(self.rows))
        object.__setattr__(self, "pairs", make_pair_rows(self.rows))
        object.__setattr__(self, "ratings", make_rated_rows(self.rows))

    @property
    def files(self) -> dict[str, str]:
        """What the run keeps, by the names in its folder."""
        return {
            SNAPSHOT_ROWS: rows_to_lines(self.rows),
            SNAPSHOT_ATTEMPTS: rows_to_lines(self.attempts),
            SNAPSHOT_PAIRS: rows_to_lines(self.pairs),
            SNAPSHOT_RATINGS: rows_to_lines(self.ratings),
        }

    @property
    def description(self) -> str:
        """What was taken and what was not, in a sentence."""
        counts = {"left out for want of consent": self.without_consent, "erased": self.erased}
        counts |= {"left out by id": self.named}
        left = "".join(f", {count} {what}" for what, count in counts.items() if count)
        made = f"{len(self.attempts)} prompts for red teaming, {len(self.pairs)} pairs, {len(self.ratings)} ratings"
        return f"feedback: {len(self.rows)} rows{left}; {made}; digest {digest(self.rows)[:12]}"

    def change_spec(self, text: str) -> str:
        """The spec of a run that learns from these rows: their prompts go first in red teaming, and what `rlhf` learns
        from are their ratings with `kto`, else their pairs. Raises SpecError."""
        spec, value = specs.parse_spec(text), yaml.safe_load(text)
        prompts = value.setdefault("prompts", {})
        others = [source for source in _list_sources(prompts.get("redteam", "world")) if not _is_own(source)]
        own = {
            "path": f"{specs.IN_RUN}{SNAPSHOT_ATTEMPTS}",
            "columns": {"prompt": "prompt", "id": "id", "language": "language"},
        }
        prompts["redteam"] = [own, *others] if self.attempts else others
        drawn = value.setdefault("options", {}).setdefault("draw", {})
        drawn["first"] = Path(SNAPSHOT_ATTEMPTS).name if self.attempts else ""
        if spec.method == "rlhf":
            self._change_learning(value)
        out = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
        specs.parse_spec(out)
        return out

    def _change_learning(self, value: dict[str, Any]) -> None:
        learn = value.setdefault("options", {}).setdefault("learn", {})
        asked, kto = learn.setdefault("pairs", {}), learn.get("kto", {})
        rated = any(not row["good"] for row in self.ratings)
        if learn.get("algorithm") == "kto" and asked.get("by") != "people" and (rated or kto.get("rows") == "people"):
            self._change_ratings(learn, rated)
            return
        own = f"{specs.IN_RUN}{SNAPSHOT_PAIRS}"
        files = [file for file in asked.get("files", ()) if file != own]
        if self.pairs:
            asked["files"], asked["by"] = [*(files if asked.get("by") == "people" else ()), own], "people"
        elif own in asked.get("files", ()):
            asked["files"] = files

    def _change_ratings(self, learn: dict[str, Any], rated: bool) -> None:
        own, asked = f"{specs.IN_RUN}{SNAPSHOT_RATINGS}", learn.setdefault("kto", {})
        files = [file for file in asked.get("files", ()) if file != own]
        asked["files"] = [*files, own] if rated else files
        asked["rows"] = "people"


def _list_sources(asked: str | list[Any]) -> list[Any]:
    return [specs.WORLD_SOURCE] if isinstance(asked, str) else asked


def _is_own(source: Any) -> bool:
    return isinstance(source, dict) and source.get("path") == f"{specs.IN_RUN}{SNAPSHOT_ATTEMPTS}"


def take_snapshot(place: str, without: Collection[str] = ()) -> FeedbackSnapshot:
    """What a run takes of a store, or of a file that `charter feedback export --as rows` wrote.

    Args:
        place: The store by file or URL, or the file of rows.
        without: Ids of rows that are left out.

    Raises:
        SpecError: There is nothing to take, or the file holds something else.
        StoreError: The store cannot be used.
    """
    if "://" in place or _is_database(Path(place)):
        with open_feedback_store(place) as store:
            rows = list(store.read_rows())
    else:
        rows = read_stored_rows(Path(place))
    found = narrow_rows(rows, without)
    if not found.rows:
        what = f"there is no feedback to use ({found.description})"
        raise SpecError(what, cure="See what a store holds: charter feedback count")
    return found


def narrow_rows(rows: Sequence[FeedbackRow], without: Collection[str]) -> FeedbackSnapshot:
    """A snapshot of rows that may be used, without those that are named."""
    usable = {row.id: row for row in rows if row.is_usable}
    kept = {id: row for id, row in usable.items() if id not in without}
    erased = sum(bool(row.erased) for row in rows)
    return FeedbackSnapshot(
        rows=tuple(kept[id] for id in sorted(kept)),
        without_consent=len(rows) - erased - sum(row.is_usable for row in rows),
        erased=erased,
        named=len(usable) - len(kept),
    )


def _is_database(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(SQLITE_BEGINNING)) == SQLITE_BEGINNING
