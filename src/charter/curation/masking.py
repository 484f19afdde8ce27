"""Personal data and secrets masked: what was recognised gives way to its kind in brackets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from charter.curation.records import Recogniser, Span


def mask(text: str, recognisers: Sequence[Recogniser]) -> tuple[str, Counter[str]]:
    """The text with every recognised place as ``[KIND]``, and how many places there were of each kind. Places that
    overlap are one, of the kind that the first of the recognisers gives; of one recogniser's, of the longest."""
    ranked = [
        (span, (rank, span.start - span.end))
        for rank, recogniser in enumerate(recognisers)
        for span in recogniser.find(text)
        if span.start < span.end
    ]
    counts: Counter[str] = Counter()
    out, end = [], 0
    for span in _apart(ranked):
        out += [text[end : span.start], f"[{span.kind}]"]
        counts[span.kind] += 1
        end = span.end
    return "".join([*out, text[end:]]), counts


def _apart(ranked: Sequence[tuple[Span, tuple[int, int]]]) -> list[Span]:
    merged: list[tuple[Span, tuple[int, int]]] = []
    for span, rank in sorted(ranked, key=lambda pair: (pair[0].start, -pair[0].end)):
        if merged and span.start < merged[-1][0].end:
            last, before = merged[-1]
            kind = span.kind if rank < before else last.kind
            merged[-1] = Span(kind, last.start, max(last.end, span.end)), min(rank, before)
        else:
            merged.append((span, rank))
    return [span for span, _ in merged]
