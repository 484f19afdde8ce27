"""How well a judge tells what violates from what does not: Youden's J, the area under the curve, and where to cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from charter.records.label_fits import FitKind, LabelFit, log_odds
from charter.statistics.agreement import Counted
from charter.statistics.shares import wilson

LEAST_YOUDEN = 0.2
"""A judge whose Youden's J may lie under this shows no discrimination to work with."""


class YoudenJ(NamedTuple):
    """Sensitivity and specificity together, less 1: 0 is chance, 1 never errs. With its 95 % interval."""

    value: float
    low: float
    high: float


def youden_j(sensitivity: Counted, specificity: Counted, alpha: float = 0.05) -> YoudenJ | None:
    """Youden's J (W. J. Youden, Cancer 3, 1950) of rates that were counted apart; None where one was not.

    J is the difference of two shares, sensitivity and 1 - specificity. Its interval is the hybrid score interval of
    such a difference (R. G. Newcombe, Stat. Med. 17, 1998, method 10)."""
    if not (sensitivity.n and specificity.n):
        return None
    se, sp = sensitivity.hits / sensitivity.n, specificity.hits / specificity.n
    (se_low, se_high), (sp_low, sp_high) = (wilson(*rate, alpha) for rate in (sensitivity, specificity))
    value = se + sp - 1
    low = value - math.hypot(se - se_low, sp - sp_low)
    return YoudenJ(value, max(-1.0, low), min(1.0, value + math.hypot(se_high - se, sp_high - sp)))


def area_under_curve(scores: Sequence[float], positive: Sequence[bool]) -> float | None:
    """The chance that a positive scores higher than a negative, ties counted by halves; None where one kind is
    missing."""
    if all(positive) or not any(positive):
        return None
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(list(positive), list(scores)))


def learn_label_fit(kind: FitKind, probabilities: Sequence[float], positive: Sequence[bool]) -> LabelFit | None:
    """The threshold of the highest J, after the curve that ``kind`` names; None where one kind of case is missing.

    ``platt``: logistic regression on the log-odds (J. Platt, Advances in Large Margin Classifiers, 1999).
    ``isotonic``: B. Zadrozny and C. Elkan, KDD 2002."""
    if all(positive) or not any(positive):
        return None
    fit = LabelFit(kind=kind, threshold=0.5)
    if kind == "platt":
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression().fit([[log_odds(p)] for p in probabilities], list(positive))
        fit = fit.model_copy(update={"slope": float(model.coef_[0][0]), "intercept": float(model.intercept_[0])})
    elif kind == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        curve = IsotonicRegression(out_of_bounds="clip").fit(list(probabilities), [float(p) for p in positive])
        points = zip(curve.X_thresholds_.tolist(), curve.y_thresholds_.tolist(), strict=True)
        fit = fit.model_copy(update={"knots": tuple(points)})
    return fit.model_copy(update={"threshold": find_threshold([fit.bend(p) for p in probabilities], positive)})


def find_threshold(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Where to cut for the highest J: half way between two neighbours; of equally good cuts the one in the widest
    gap. From the cut on a score is positive."""
    cases = sorted(zip(scores, positive, strict=True))
    positives, negatives = sum(positive), len(positive) - sum(positive)
    below = {True: 0, False: 0}
    best = (0.0, 0.0, cases[0][0])
    for (score, kind), (following, _) in pairwise(cases):
        below[kind] += 1
        if following > score:
            j = (positives - below[True]) / positives + below[False] / negatives - 1
            best = max(best, (round(j, 12), following - score, (score + following) / 2))
    return best[2]
