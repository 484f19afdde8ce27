"""Training rows, as often as they are wanted."""

from __future__ import annotations

from collections.abc import Sequence

from charter.nouns import Example


def repeated(rows: Sequence[Example], wanted: int) -> list[Example]:
    """The rows over and over until there are so many, each once at least; a copy has an id of its own."""
    if not rows or not wanted:
        return []
    turns = max(1, -(-wanted // len(rows)))
    copies = [r.model_copy(update={"id": f"{r.id}+{turn}"}) if turn else r for turn in range(turns) for r in rows]
    return copies[: max(wanted, len(rows))]
