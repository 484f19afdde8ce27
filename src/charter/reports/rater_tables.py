"""How far the raters of labelled files agree with one another, in tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from charter.records.calibration_results import LabelledExchange
from charter.reports.judging_tables import TableRows
from charter.runs.reader import RunReader
from charter.statistics import Kappa, cohens_kappa, gwet_ac1, wilson

_MAX_PAIRS = 15
"""Pairs of raters of a file that are shown."""


def tabulate_raters(reading: RunReader) -> Iterator[tuple[str, TableRows]]:
    """A table of each two raters of a labelled file: raw agreement, Cohen's kappa and Gwet's AC1 over all labels."""
    files: dict[str, list[LabelledExchange]] = {}
    for known in reading.records("000/labelled", LabelledExchange):
        if len(known.ratings) > 1:
            files.setdefault(known.exchange.prompt.source, []).append(known)
    rows = [row for file, known in files.items() for row in _compare_raters(file, known)]
    if rows:
        head = ("file", "raters", "rated by both", "agree", "Cohen's kappa", "Gwet's AC1")
        yield "Raters of a labelled file, two by two, with 95 % intervals", [head, *rows]


def _compare_raters(file: str, labelled: Sequence[LabelledExchange]) -> Iterator[tuple[str, ...]]:
    raters = list(dict.fromkeys(rater for known in labelled for rater in known.ratings))
    pairs = list(combinations(raters, 2))
    for one, other in pairs[:_MAX_PAIRS]:
        both = [(k.ratings[one], k.ratings[other]) for k in labelled if one in k.ratings and other in k.ratings]
        if both:
            yield (file, f"{one}, {other}", str(len(both)), *_agreement_cells(both))
    if len(pairs) > _MAX_PAIRS:
        yield (file, f"{len(pairs) - _MAX_PAIRS} further pairs of raters are not shown", "", "", "", "")


def _agreement_cells(both: Sequence[tuple[str, str]]) -> tuple[str, str, str]:
    labels = sorted({label for pair in both for label in pair})
    table = [[both.count((one, other)) for other in labels] for one in labels]
    same = sum(one == other for one, other in both)
    low, high = wilson(same, len(both))
    few = len(labels) < 2  # one label alone says nothing of agreement beyond chance
    none = Kappa(None, None, None)
    kappa, ac1 = (none, none) if few else (cohens_kappa(table), gwet_ac1(table))
    return f"{same / len(both):.1%} ({low:.1%} to {high:.1%})", _text(kappa), _text(ac1)


def _text(found: Kappa) -> str:
    if found.value is None or found.low is None or found.high is None:
        return "–"
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"
