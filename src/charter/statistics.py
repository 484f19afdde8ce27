"""Statistics of shares and means, whole and by group, and of paired comparisons, by scipy and statsmodels.
What they lack (the change of a share, what n pairs can show) is written out with its source."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

from charter.nouns import Metric, Score

By = Literal["category", "language", "source", "attack"]
FEW = 10
"""Cells of a breakdown with fewer judged answers are marked: their intervals say next to nothing."""


class Cell(Score):
    """A score over the prompts of one group: ``by`` says which of their properties, ``group`` its value."""

    by: By
    group: str
    metric: str

    @property
    def few(self) -> bool:
        """Whether n < 10."""
        return self.n < FEW


def wilson(successes: float, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Wilson score interval of a share (E. B. Wilson, JASA 22, 1927). (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(successes, n, alpha=alpha, method="wilson")
    return float(low), float(high)


def share(metric: Metric, seen: Sequence[bool | None], benchmark: str) -> Score:
    """The share of events among those that could be judged, with n and its 95 % Wilson interval; None: unjudged."""
    judged = [event for event in seen if event is not None]
    low, high = wilson(sum(judged), len(judged))
    return Score(
        id=metric.name,
        value=sum(judged) / len(judged) if judged else None,
        n=len(judged),
        low=low if judged else None,
        high=high if judged else None,
        unjudged=len(seen) - len(judged),
        better=metric.better,
        benchmark=benchmark,
    )


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided McNemar p of a paired comparison: pairs that only the second passes, that only the first
    passes."""
    if gained + lost == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost, 0.5).pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (S. Holm, Scand. J. Statist. 6, 1979), in the order given."""
    if not values:
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(list(values), method="holm")[1]]


def change(gained: int, lost: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Interval of the change of a share on the same ``n`` prompts, of which ``gained`` are hits only the second time
    and ``lost`` only the first: each end is the change under which what was seen, or more, has a chance of alpha / 2,
    the rest being as likely as the data allow. (-1, 1) for n = 0.

    Approximate unconditional interval (M.-L. Tang, N.-S. Tang, I. Chan, Statist. Med. 24, 2005) on the net change:
    Tango's score interval errs too often at the small alpha of many comparisons."""
    return -_most(lost, gained, n, alpha / 2), _most(gained, lost, n, alpha / 2)


def detectable(
    n: int, against: float = 0.0, margin: float = 0.0, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The smallest change of a share that ``n`` pairs show with this power: beyond ``margin``, at a two-sided
    ``alpha``, by exact McNemar where the margin is 0 and by ``change`` elsewhere. ``against``: share of the pairs that
    change the other way. None where no change can be shown."""
    if n == 0:
        return None
    back = round(n * against)

    def shows(one_way: int) -> bool:
        if margin == 0:
            return mcnemar(one_way, back) <= alpha
        return _chance(one_way, back, n, margin) <= alpha / 2

    counts = range(min(n, back + math.ceil(margin * n)), n - back + 1)
    found = bisect_left(counts, True, key=shows)
    if found == len(counts):
        return None
    from scipy.optimize import brentq

    needed, most = counts[found] - back, 1 - 2 * against

    def lacking(by: float) -> float:
        return power - _net(n, by + against, against, needed)

    return float(brentq(lacking, 0, most)) if lacking(most) < 0 else None


def _most(gained: int, lost: int, n: int, alpha: float) -> float:
    """The greatest change under which one as small as was seen has at least the chance ``alpha``."""
    if n == 0 or gained == n:
        return 1.0
    from scipy.optimize import brentq

    def chance(change: float) -> float:
        return _chance(lost, gained, n, -change) - alpha

    return float(brentq(chance, (gained - lost) / n, 1))


def _chance(lost: int, gained: int, n: int, loss: float) -> float:
    """The chance of a net loss as great as was seen, were the true one ``loss``; the share of pairs that gain is then
    the likeliest given the data (T. Tango, Statist. Med. 17, 1998, equation 2)."""
    half = -gained - lost + (2 * n - lost + gained) * loss
    back = (math.sqrt(max(0.0, half * half + 8 * n * gained * loss * (1 - loss))) - half) / (4 * n)
    back = min(max(0.0, -loss, back), (1 - loss) / 2)
    return _net(n, back + loss, back, lost - gained)


def _net(n: int, one: float, other: float, least: int) -> float:
    """The chance that, of n pairs, those that change one way outnumber those that change the other by ``least``."""
    from scipy.fft import irfft, next_fast_len

    size = int(next_fast_len(2 * n + 1, real=True))
    chances = irfft(_waves(n, size, one, other), size)
    return float(chances[max(0, least) : n + 1].sum() + (chances[least:].sum() if least < 0 else 0.0))


def _waves(n: int, size: int, one: float, other: float) -> Any:
    """The characteristic function of the net change of n pairs, conjugate, at the frequencies of a real transform."""
    import numpy

    turn = numpy.exp(-2j * math.pi * numpy.arange(size // 2 + 1) / size)
    return (one * turn + (1 - one - other) + other * turn.conj()) ** n


class Mean(NamedTuple):
    """A mean with its interval; ``p``: two-sided, that it is 0. ``clusters``: how many groups it rests on."""

    value: float
    low: float
    high: float
    p: float
    clusters: int


def mean(
    values: Sequence[float], clusters: Sequence[str], alpha: float = 0.05, draws: int = 9_999, seed: int = 0
) -> Mean | None:
    """A mean of values of which those of one cluster (the answers to one prompt) are alike; for a change, of the
    differences on the same prompts. Bootstrap over clusters, of the studentised mean: the plain percentiles are too
    narrow for skewed values (B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 12). None
    without values."""
    if not values:
        return None
    import numpy
    from scipy.stats import bootstrap

    sums: dict[str, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        both = sums.setdefault(cluster, [0.0, 0.0])
        both[0], both[1] = both[0] + value, both[1] + 1
    (total, count), at = numpy.asarray(list(sums.values())).T, math.fsum(values) / len(values)
    if len(sums) == 1:
        return Mean(at, -math.inf, math.inf, 1.0, 1)

    def error(total: Any, count: Any, mean: Any, axis: int) -> Any:
        """The standard error of a ratio of sums over clusters."""
        return numpy.sqrt(((total - mean * count) ** 2).sum(axis=axis)) / count.sum(axis=axis)

    def pivot(total: Any, count: Any, axis: int) -> Any:
        drawn = total.sum(axis=axis, keepdims=True) / count.sum(axis=axis, keepdims=True)
        return (drawn.squeeze(axis) - at) / numpy.maximum(error(total, count, drawn, axis), least)

    own = float(error(total, count, at, 0))
    least = max(own, abs(at), 1.0) * 1e-9
    found = bootstrap(
        (total, count),
        pivot,
        paired=True,
        confidence_level=1 - alpha,
        n_resamples=draws,
        method="percentile",
        rng=numpy.random.default_rng(seed),
    )
    pivots, seen, interval = found.bootstrap_distribution, at / max(own, least), found.confidence_interval
    tail = min(int((pivots >= seen).sum()), int((pivots <= seen).sum()))
    low, high = at - own * float(interval.high), at - own * float(interval.low)
    return Mean(at, low, high, min(1.0, 2 * (tail + 1) / (draws + 1)), len(sums))


def bounds(hits: int, n: int, unjudged: int) -> tuple[float, float]:
    """The least and the greatest share that ``unjudged`` further cases leave open: none of them a hit, all of them.
    (0, 1) where there is no case."""
    whole = n + unjudged
    return (hits / whole, (hits + unjudged) / whole) if whole else (0.0, 1.0)


class Kappa(NamedTuple):
    """Agreement beyond chance, with its 95 % interval; None where one of the two says the same of every case."""

    value: float | None
    low: float | None
    high: float | None


def cohens_kappa(table: Sequence[Sequence[int]]) -> Kappa:
    """Cohen's kappa of a square table of counts (J. Cohen, Educ. Psychol. Meas. 20, 1960); its interval by the large
    sample variance of Fleiss, Cohen and Everitt (Psychol. Bull. 72, 1969)."""
    n = sum(map(sum, table))
    rows, columns = [sum(row) for row in table], [sum(column) for column in zip(*table, strict=True)]
    if not n or sum(r * c for r, c in zip(rows, columns, strict=True)) == n * n:
        return Kappa(None, None, None)
    import numpy
    from statsmodels.stats.inter_rater import cohens_kappa as kappa

    found = kappa(numpy.asarray(table))
    return Kappa(float(found.kappa), max(-1.0, float(found.kappa_low)), min(1.0, float(found.kappa_upp)))


class Corrected(NamedTuple):
    """A share corrected for the errors of its judge, with its interval. ``clipped``: a figure lay outside 0 to 1; not
    ``fits``: the whole interval did, so the judge errs otherwise here than where it was measured."""

    value: float
    low: float
    high: float
    clipped: bool
    fits: bool = True


def rogan_gladen(
    positives: int, n: int, sensitivity: tuple[int, int], specificity: tuple[int, int], alpha: float = 0.05
) -> Corrected | None:
    """The share of true positives behind ``positives`` of ``n`` judged, where sensitivity and specificity were measured
    apart (each: right ones, of how many). None where they are no better than chance, or nothing was measured.

    (W. J. Rogan and B. Gladen, Am. J. Epidemiol. 107, 1978.) The interval carries the error of all three shares: the
    delta method with pseudo-counts of Z. Lang and J. Reiczigel, Prev. Vet. Med. 113, 2014."""
    if not (n and sensitivity[1] and specificity[1]):
        return None
    from scipy.stats import norm

    z = float(norm.ppf(1 - alpha / 2))
    se, sp = sensitivity[0] / sensitivity[1], specificity[0] / specificity[1]
    size, n_se, n_sp = n + z * z, sensitivity[1] + 2, specificity[1] + 2
    q_, se_, sp_ = (positives + z * z / 2) / size, (sensitivity[0] + 1) / n_se, (specificity[0] + 1) / n_sp
    if se + sp <= 1 or se_ + sp_ <= 1:
        return None
    value, p = (positives / n + sp - 1) / (se + sp - 1), (q_ + sp_ - 1) / (se_ + sp_ - 1)
    of_se, of_sp = se_ * (1 - se_) / n_se, sp_ * (1 - sp_) / n_sp
    middle = p + 2 * z * z * (p * of_se - (1 - p) * of_sp)
    spread = z * math.sqrt(q_ * (1 - q_) / size + p * p * of_se + (1 - p) * (1 - p) * of_sp) / (se_ + sp_ - 1)
    found = (value, middle - spread, middle + spread)
    at, low, high = (min(1.0, max(0.0, x)) for x in found)
    return Corrected(at, low, high, clipped=(at, low, high) != found, fits=found[2] >= 0 and found[1] <= 1)


def sign_test(gained: int, lost: int) -> float:
    """Exact one-sided p of a drop: that at least ``lost`` of the pairs that changed fall by chance (McNemar's test,
    one-sided)."""
    if gained + lost == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(lost, gained + lost, 0.5, alternative="greater").pvalue)


@cache
def pairs_needed(margin: float, changing: float = 0.0, alpha: float = 0.1) -> int:
    """The least n that shows a drop to be smaller than ``margin`` where there is none: the lower end of ``change`` is
    above -margin. ``changing``: share of the pairs that change, half of them either way."""
    low, high = 1, 2

    def enough(n: int) -> bool:
        moved = math.ceil(changing * n / 2)
        return change(moved, moved, n, alpha)[0] > -margin

    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
