"""Personal data and secrets masked: what was recognised gives way to its kind in brackets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from charter.curation.records import Recogniser, Span


def mask(text: str, recognisers: Sequence[Recogniser]) -> tuple[str, Counter[str]]:
    """The text with every recognised place as ``[KIND]``, and how many places there were of each kind. Places that
    overlap are one, of the kind of the longest."""
    spans = [span for recogniser in recognisers for span in recogniser.find(text) if span.start < span.end]
    counts: Counter[str] = Counter()
    out, end = [], 0
    for span in _apart(spans):
        out += [text[end : span.start], f"[{span.kind}]"]
        counts[span.kind] += 1
        end = span.end
    return "".join([*out, text[end:]]), counts


def _apart(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    longest: list[int] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if merged and span.start < merged[-1].end:
            last, size = merged[-1], span.end - span.start
            kind = span.kind if size > longest[-1] else last.kind
            merged[-1] = Span(kind, last.start, max(last.end, span.end))
            longest[-1] = max(longest[-1], size)
        else:
            merged.append(span)
            longest.append(span.end - span.start)
    return merged
