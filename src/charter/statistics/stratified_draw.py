"""Which items a limit takes: by hash, of each category its share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from charter.records.record import digest


def draw_stratified(texts: Sequence[str], categories: Sequence[str], most: int | None) -> list[int]:
    """The places of at most so many items, in order: of each category about the share that it has in all. Within a
    category they are drawn by the hash of their texts, so that an item's turn depends on no other one."""
    if most is None or len(texts) <= most:
        return list(range(len(texts)))
    sizes, ranks = Counter(categories), Counter[str]()
    marks = [digest([text]) for text in texts]
    turns: list[tuple[float, str, int]] = []
    for place in sorted(range(len(texts)), key=lambda n: (marks[n], n)):
        category = categories[place]
        turns.append(((ranks[category] + 0.5) / sizes[category], marks[place], place))
        ranks[category] += 1
    return sorted(place for _, _, place in sorted(turns)[:most])
