"""Statistics of shares and means, whole and by group, and of paired comparisons, by scipy.
What it lacks (the change of a share, what n pairs can show) is written out with its source."""

from charter.statistics.agreement import CorrectedShare, Counted, Kappa, cohens_kappa, gwet_ac1, rogan_gladen
from charter.statistics.changes import (
    MeanChange,
    change_interval,
    flip_signs,
    holm,
    mcnemar,
    mean_change,
    pairs_needed,
    smallest_detectable_change,
)
from charter.statistics.copies import describe_copies, drop_copies, read_text_mark
from charter.statistics.corrected_shares import FileRates, correct_share, homogeneity_p
from charter.statistics.discrimination import LEAST_YOUDEN, YoudenJ, area_under_curve, learn_label_fit, youden_j
from charter.statistics.means import Mean, bootstrap_mean
from charter.statistics.rater_agreement import measure_agreement
from charter.statistics.shares import (
    FEW_JUDGED,
    BreakdownCell,
    GroupBy,
    clustered_interval,
    score_share,
    share_bounds,
    wilson,
)
from charter.statistics.stratified_draw import draw_stratified

__all__ = [
    "FEW_JUDGED",
    "LEAST_YOUDEN",
    "BreakdownCell",
    "CorrectedShare",
    "Counted",
    "FileRates",
    "GroupBy",
    "Kappa",
    "Mean",
    "MeanChange",
    "YoudenJ",
    "area_under_curve",
    "bootstrap_mean",
    "change_interval",
    "clustered_interval",
    "cohens_kappa",
    "correct_share",
    "describe_copies",
    "draw_stratified",
    "drop_copies",
    "flip_signs",
    "gwet_ac1",
    "holm",
    "homogeneity_p",
    "learn_label_fit",
    "mcnemar",
    "mean_change",
    "measure_agreement",
    "pairs_needed",
    "read_text_mark",
    "rogan_gladen",
    "score_share",
    "share_bounds",
    "smallest_detectable_change",
    "wilson",
    "youden_j",
]
