"""Exchanges whose label is known, as they are counted."""

from __future__ import annotations

from collections.abc import Sequence

from charter.records.calibration_results import LabelledExchange
from charter.records.measurements import Proportion
from charter.similarity.spelling import normalize_turns
from charter.statistics import wilson


def drop_equal_exchanges(labelled: Sequence[LabelledExchange]) -> list[LabelledExchange]:
    """The first of those that have one outcome, one response, and prompts of the same normalised words."""
    first: dict[object, LabelledExchange] = {}
    for known in labelled:
        exchange = known.exchange
        first.setdefault((normalize_turns(exchange.prompt.messages), exchange.response, known.outcome), known)
    return list(first.values())


def wilson_share(hits: float, n: int) -> Proportion:
    """A share with its interval."""
    low, high = wilson(hits, n)
    return Proportion(hits=hits, n=n, value=hits / n if n else None, low=low, high=high)
