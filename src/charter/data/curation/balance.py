"""No language, and no length, that outweighs the others."""

from __future__ import annotations

from collections.abc import Mapping


def compute_quotas(counts: Mapping[str, int], share: float) -> dict[str, int]:
    """How many rows of each group may stay so that none has more than ``share`` of what stays; where there are too few
    groups for that, all are cut to the size of the smallest. Nothing is cut where there is one group alone."""
    if len(counts) < 2:
        return dict(counts)
    share = max(share, 1 / len(counts))
    kept = dict(counts)
    while True:
        total = sum(kept.values())
        # the largest may be as large as the others allow: c <= share * (c + others)
        changed = False
        for name in sorted(kept, key=lambda name: (-kept[name], name)):
            if kept[name] > share * total + 1e-9:
                others = total - kept[name]
                most = int(share / (1 - share) * others + 1e-9)
                if most < kept[name]:
                    total, kept[name], changed = others + most, most, True
        if not changed:
            return kept


def length_group(words: int) -> str:
    """Up to 8, 16, 32 ... words."""
    top = 8
    while words > top:
        top *= 2
    return f"{top // 2 + 1 if top > 8 else 0} to {top} words"
