"""How far a judge can be trusted: agreement beyond chance, and shares corrected for the judge's error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

PSEUDO = 0.25
"""What each cell of a table counts beforehand in the draws of its interval: one case over four cells (W. Perks, J.
Inst. Actuaries 73, 1947). So the interval does not vanish where nothing was wrong."""
DRAWS = 9_999


class Kappa(NamedTuple):
    """Agreement beyond chance, with its 95 % interval; None where it has no value."""

    value: float | None
    low: float | None
    high: float | None


def cohens_kappa(table: Sequence[Sequence[int]]) -> Kappa:
    """Cohen's kappa of a square table of counts (J. Cohen, Educ. Psychol. Meas. 20, 1960). None where a row or a column
    is empty: nothing was said, or is known, of that label."""
    if not all(map(sum, table)) or not all(map(sum, zip(*table, strict=True))):
        return Kappa(None, None, None)

    def chance(rows: Any, columns: Any) -> Any:
        return (rows * columns).sum(axis=-1)

    return _beyond_chance(table, chance)


def gwet_ac1(table: Sequence[Sequence[int]]) -> Kappa:
    """Gwet's AC1 of a square table of counts (K. L. Gwet, Br. J. Math. Stat. Psychol. 61, 2008, equations 3 and 4).
    It stays near the agreement where one label is rare; kappa falls toward 0 there. None of an empty table."""
    if not sum(map(sum, table)):
        return Kappa(None, None, None)

    def chance(rows: Any, columns: Any) -> Any:
        shares = (rows + columns) / 2
        return (shares * (1 - shares)).sum(axis=-1) / (len(table) - 1)

    return _beyond_chance(table, chance)


def _beyond_chance(table: Sequence[Sequence[int]], chance: Callable[[Any, Any], Any]) -> Kappa:
    """Agreement beyond the ``chance`` that rows and columns give, and the middle 95 % of it over tables as likely as
    the one seen: a Bayesian bootstrap (D. B. Rubin, Ann. Statist. 9, 1981) with pseudo-counts."""
    import numpy

    counts = numpy.asarray(table, dtype=float)

    def figure(shares: Any) -> Any:
        agreed = numpy.trace(shares, axis1=-2, axis2=-1)
        by_chance = chance(shares.sum(axis=-1), shares.sum(axis=-2))
        return (agreed - by_chance) / (1 - by_chance)

    drawn = numpy.random.default_rng(0).dirichlet(counts.ravel() + PSEUDO, DRAWS).reshape(-1, *counts.shape)
    value = float(figure(counts / counts.sum()))
    low, high = numpy.quantile(figure(drawn), (0.025, 0.975)).tolist()
    return Kappa(value, min(low, value), max(high, value))


class CorrectedShare(NamedTuple):
    """A share corrected for the errors of its judge, with its interval. ``clipped``: a figure lay outside 0 to 1; not
    ``fits``: the whole interval did, so the judge errs otherwise here than where it was measured. ``held``: which part
    of the correction was made (``correct_share``)."""

    value: float
    low: float
    high: float
    clipped: bool
    fits: bool = True
    held: float = 1.0


class Counted(NamedTuple):
    """A share that was measured: ``hits`` of ``n``."""

    hits: int
    n: int


def rogan_gladen(
    positives: int, n: int, sensitivity: Counted, specificity: Counted, alpha: float = 0.05
) -> CorrectedShare | None:
    """The share of true positives behind ``positives`` of ``n`` judged, where sensitivity and specificity were measured
    apart (each: the right ones). None where they are no better than chance, or nothing was measured.

    (W. J. Rogan and B. Gladen, Am. J. Epidemiol. 107, 1978.) The interval carries the error of all three shares: the
    delta method with pseudo-counts of Z. Lang and J. Reiczigel, Prev. Vet. Med. 113, 2014."""
    if not (n and sensitivity.n and specificity.n):
        return None
    from scipy.stats import norm

    z = float(norm.ppf(1 - alpha / 2))
    se, sp = sensitivity.hits / sensitivity.n, specificity.hits / specificity.n
    size, n_se, n_sp = n + z * z, sensitivity.n + 2, specificity.n + 2
    q_, se_, sp_ = (positives + z * z / 2) / size, (sensitivity.hits + 1) / n_se, (specificity.hits + 1) / n_sp
    if se + sp <= 1 or se_ + sp_ <= 1:
        return None
    value, p = (positives / n + sp - 1) / (se + sp - 1), (q_ + sp_ - 1) / (se_ + sp_ - 1)
    of_se, of_sp = se_ * (1 - se_) / n_se, sp_ * (1 - sp_) / n_sp
    middle = p + 2 * z * z * (p * of_se - (1 - p) * of_sp)
    spread = z * math.sqrt(q_ * (1 - q_) / size + p * p * of_se + (1 - p) * (1 - p) * of_sp) / (se_ + sp_ - 1)
    found = (value, middle - spread, middle + spread)
    at, low, high = (min(1.0, max(0.0, x)) for x in found)
    return CorrectedShare(at, low, high, clipped=(at, low, high) != found, fits=found[2] >= 0 and found[1] <= 1)
