"""Personal data and secrets masked: what was recognised gives way to its kind in brackets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from charter.data.curation.curation_records import DetectedSpan, Detector


def mask_text(text: str, recognisers: Sequence[Detector]) -> tuple[str, Counter[str]]:
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
    for span in _merge_overlaps(ranked):
        out += [text[end : span.start], f"[{span.kind}]"]
        counts[span.kind] += 1
        end = span.end
    return "".join([*out, text[end:]]), counts


def _merge_overlaps(ranked: Sequence[tuple[DetectedSpan, tuple[int, int]]]) -> list[DetectedSpan]:
    merged: list[tuple[DetectedSpan, tuple[int, int]]] = []
    for span, rank in sorted(ranked, key=lambda pair: (pair[0].start, -pair[0].end)):
        if merged and span.start < merged[-1][0].end:
            last, before = merged[-1]
            kind = span.kind if rank < before else last.kind
            merged[-1] = DetectedSpan(kind, last.start, max(last.end, span.end)), min(rank, before)
        else:
            merged.append((span, rank))
    return [span for span, _ in merged]
