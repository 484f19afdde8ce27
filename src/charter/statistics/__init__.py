"""Statistics of shares and means, whole and by group, and of paired comparisons, by scipy and statsmodels.
What they lack (the change of a share, what n pairs can show) is written out with its source."""

from charter.statistics.agreement import CorrectedShare, Kappa, cohens_kappa, rogan_gladen
from charter.statistics.changes import (
    MeanChange,
    change_interval,
    holm,
    mcnemar,
    mean_change,
    pairs_needed,
    sign_test,
    smallest_detectable_change,
)
from charter.statistics.means import Mean, bootstrap_mean
from charter.statistics.shares import (
    FEW_JUDGED,
    BreakdownCell,
    GroupBy,
    clustered_interval,
    score_share,
    share_bounds,
    wilson,
)

__all__ = [
    "FEW_JUDGED",
    "BreakdownCell",
    "CorrectedShare",
    "GroupBy",
    "Kappa",
    "Mean",
    "MeanChange",
    "bootstrap_mean",
    "change_interval",
    "clustered_interval",
    "cohens_kappa",
    "holm",
    "mcnemar",
    "mean_change",
    "pairs_needed",
    "rogan_gladen",
    "score_share",
    "share_bounds",
    "sign_test",
    "smallest_detectable_change",
    "wilson",
]
