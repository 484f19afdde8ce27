"""Judged shares corrected by several labelled files: how far the correction holds from one file to the next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from charter.statistics.agreement import CorrectedShare, Counted, rogan_gladen
from charter.statistics.shares import wilson


class FileRates(NamedTuple):
    """How a judge did on one labelled file: how many it ``caught`` of those ``violating``, and ``cleared`` of those
    ``complying``."""

    caught: int
    violating: int
    cleared: int
    complying: int

    @property
    def n(self) -> int:
        """How many were judged."""
        return self.violating + self.complying

    @property
    def positives(self) -> int:
        """How many the judge says violate."""
        return self.caught + self.complying - self.cleared


def homogeneity_p(counts: Sequence[tuple[int, int]]) -> float | None:
    """The p of Pearson's chi-square that a share (hits, of how many) is the same in all groups (K. Pearson, Philos.
    Mag. 50, 1900). None with fewer than two groups that tell."""
    table = [(hits, n - hits) for hits, n in counts if n]
    if len(table) < 2:
        return None
    if not all(map(sum, zip(*table, strict=True))):
        return 1.0
    from scipy.stats import chi2_contingency

    return float(chi2_contingency(table, correction=False).pvalue)


def correct_share(positives: int, n: int, files: Sequence[FileRates], alpha: float = 0.05) -> CorrectedShare | None:
    """The share of true positives behind ``positives`` of ``n`` judged, by what the judge did on labelled files. None
    as for ``rogan_gladen``, which it is with one file.

    With several, each is left out in turn and corrected by the others, so that the files themselves tell how far a
    correction holds from one to the next. Of the correction that part (0 to 1, ``held``) is made which brings them
    nearest to their labels (least squares). Their remaining errors are taken for draws from those of all files (a
    random effect): the interval adds them to the error of sampling, by the t quantile of one degree of freedom fewer
    than files."""
    files = [file for file in files if file.n]
    whole = _pooled(positives, n, files, alpha)
    if whole is None or len(files) < 2 or not whole.fits:
        return whole
    raw, corrected = [], []
    for place, file in enumerate(files):
        truth, judged = file.violating / file.n, file.positives / file.n
        other = _pooled(file.positives, file.n, [*files[:place], *files[place + 1 :]], alpha)
        raw.append(judged - truth)
        corrected.append((other.value if other else judged) - truth)
    steps = [after - before for before, after in zip(raw, corrected, strict=True)]
    size = math.fsum(step * step for step in steps)
    held = min(1.0, max(0.0, -math.fsum(e * s for e, s in zip(raw, steps, strict=True)) / size)) if size else 1.0
    left = math.fsum((e + held * s) ** 2 for e, s in zip(raw, steps, strict=True)) / len(files)
    from scipy.stats import t

    between = float(t.isf(alpha / 2, len(files) - 1)) * math.sqrt(left)
    seen = wilson(positives, n, alpha)
    value, low, high = (
        one + held * (two - one)
        for one, two in zip((positives / n, *seen), (whole.value, whole.low, whole.high), strict=True)
    )
    ends = value - math.hypot(value - low, between), value + math.hypot(high - value, between)
    return CorrectedShare(
        value,
        max(0.0, ends[0]),
        min(1.0, ends[1]),
        clipped=whole.clipped or ends[0] < 0 or ends[1] > 1,
        held=held,
    )


def _pooled(positives: int, n: int, files: Sequence[FileRates], alpha: float) -> CorrectedShare | None:
    caught, violating, cleared, complying = (sum(counts) for counts in zip(*files, strict=True)) if files else (0,) * 4
    return rogan_gladen(positives, n, Counted(caught, violating), Counted(cleared, complying), alpha)
