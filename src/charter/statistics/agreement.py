"""How far a judge can be trusted: agreement beyond chance, and shares corrected for the judge's error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


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


class CorrectedShare(NamedTuple):
    """A share corrected for the errors of its judge, with its interval. ``clipped``: a figure lay outside 0 to 1; not
    ``fits``: the whole interval did, so the judge errs otherwise here than where it was measured."""

    value: float
    low: float
    high: float
    clipped: bool
    fits: bool = True


def rogan_gladen(
    positives: int, n: int, sensitivity: tuple[int, int], specificity: tuple[int, int], alpha: float = 0.05
) -> CorrectedShare | None:
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
    return CorrectedShare(at, low, high, clipped=(at, low, high) != found, fits=found[2] >= 0 and found[1] <= 1)
