"""Figures: what a benchmark measured, and scores with their intervals."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from charter.records.record import Record
from charter.records.verdicts import Verdict

Split = Literal["train", "gate", "heldout"]
MeasuredSplit = Literal["gate", "heldout"]
"""The splits that a policy is measured on."""

MarginKind = Literal["harmlessness", "helpfulness", "honesty", "over_refusal", "capability"]
"""What a metric measures, which says how much of it a policy may lose (``options.gates``)."""

Better = Literal["higher", "lower", "zero", "neither"]
"""Which way of a figure is good; ``zero``: the nearer to 0."""


class Metric(Record):
    """A figure that a benchmark gives. ``better`` says which way is good, if either is. ``kind``: the share of items in
    which an event happened, the mean of a figure between 0 and 1, or a ``whole``: computed from all items at once.
    ``margin``: whose margin in ``options.gates`` bounds its loss."""

    name: str
    better: Better = "higher"
    meaning: str = ""
    kind: Literal["share", "mean", "whole"] = "share"
    margin: MarginKind = "capability"


class Measurement(Record):
    """What a benchmark found in one exchange or item: did the event happen, by metric (None: could not be judged).
    ``values``: figures between 0 and 1 that are no events. ``verdict`` is what it goes by, where a model judged."""

    id: str
    outcomes: dict[str, bool | None]
    values: dict[str, float] = Field(default_factory=dict)
    verdict: Verdict | None = None


class Score(Record):
    """A share with n and its 95 % interval; ``unjudged`` are never in ``n``. ``note`` must be said beside it."""

    id: str
    value: float | None
    n: int
    low: float | None
    high: float | None
    unjudged: int = 0
    better: Better = "higher"
    benchmark: str = ""
    version: str = ""
    interval: Literal["wilson", "bootstrap"] = "wilson"
    note: str = ""


class Proportion(Record):
    """``hits`` of ``n`` with the 95 % Wilson interval; hits count by halves where a case is half right."""

    hits: float
    n: int
    value: float | None
    low: float
    high: float


class SkippedBenchmark(Record):
    """A benchmark that the target cannot take, and why."""

    id: str
    reason: str
