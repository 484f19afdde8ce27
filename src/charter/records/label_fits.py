"""How probabilities of a judge's labels become a verdict: a threshold, and a curve before it."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Literal

from charter.records.record import Record

JudgeReading = Literal["rationale", "label"]
"""How a verdict is read: from a reply in words, or from the probabilities of the labels."""
FitKind = Literal["threshold", "platt", "isotonic"]
"""What a calibration learns about these probabilities: where to cut alone, or a curve before."""
LEAST = 1e-12
"""A probability nearer to 0 or 1 than this counts as so near."""


class LabelFit(Record):
    """What was learnt on labelled exchanges. A verdict violates from ``threshold`` on. ``slope`` and ``intercept``
    (``platt``) bend the log-odds; ``knots`` (``isotonic``) are points of a curve: probability, and what it becomes."""

    kind: FitKind = "threshold"
    threshold: float
    slope: float = 1.0
    intercept: float = 0.0
    knots: tuple[tuple[float, float], ...] = ()

    def bend(self, probability: float) -> float:
        """The probability after the curve."""
        if self.kind == "platt":
            odds = self.slope * log_odds(probability) + self.intercept
            return 1 / (1 + math.exp(min(700.0, -odds)))
        if self.kind == "isotonic" and self.knots:
            return _interpolate(self.knots, probability)
        return probability


def log_odds(probability: float) -> float:
    """The logarithm of the odds; finite at 0 and 1."""
    inside = min(1 - LEAST, max(LEAST, probability))
    return math.log(inside / (1 - inside))


def _interpolate(knots: tuple[tuple[float, float], ...], at: float) -> float:
    """The height of the curve through the knots, level beyond its ends."""
    place = bisect_left([x for x, _ in knots], at)
    if place == 0 or place == len(knots):
        return knots[min(place, len(knots) - 1)][1]
    (x0, y0), (x1, y1) = knots[place - 1], knots[place]
    return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
