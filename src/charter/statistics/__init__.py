"""Statistics of shares and means, whole and by group, and of paired comparisons, by scipy and statsmodels.
What they lack (the change of a share, what n pairs can show) is written out with its source."""

from charter.statistics.agreement import Corrected, Kappa, cohens_kappa, rogan_gladen
from charter.statistics.changes import (
    Moved,
    change,
    detectable,
    holm,
    mcnemar,
    moved,
    pairs_needed,
    sign_test,
)
from charter.statistics.means import Mean, mean
from charter.statistics.shares import FEW, By, Cell, bounds, clustered, share, wilson

__all__ = [
    "FEW",
    "By",
    "Cell",
    "Corrected",
    "Kappa",
    "Mean",
    "Moved",
    "bounds",
    "change",
    "clustered",
    "cohens_kappa",
    "detectable",
    "holm",
    "mcnemar",
    "mean",
    "moved",
    "pairs_needed",
    "rogan_gladen",
    "share",
    "sign_test",
    "wilson",
]
