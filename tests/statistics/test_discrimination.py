"""How well a judge discriminates: J with its interval, the area under the curve, and what is learnt of labels."""

from __future__ import annotations

import random

import pytest

from charter.records.label_fits import LabelFit
from charter.statistics import Counted, area_under_curve, learn_label_fit, youden_j
from charter.statistics.discrimination import find_threshold


def test_youdens_j_has_the_interval_of_a_difference_of_shares() -> None:
    """Newcombe 1998, table II, row (a): 56 of 70 against 48 of 80 differ by .2, from .0524 to .3339."""
    found = youden_j(Counted(56, 70), Counted(80 - 48, 80))
    assert found is not None
    assert found.value == pytest.approx(0.2)
    assert [found.low, found.high] == pytest.approx([0.0524, 0.3339], abs=1e-4)
    assert youden_j(Counted(0, 0), Counted(3, 4)) is None


def test_twenty_cases_leave_a_wide_interval() -> None:
    perfect, chance = youden_j(Counted(10, 10), Counted(10, 10)), youden_j(Counted(10, 10), Counted(0, 10))
    assert perfect is not None
    assert chance is not None
    assert 0.2 < perfect.low < 0.7
    assert chance.value == 0


def test_the_threshold_is_the_cut_of_the_highest_j() -> None:
    scores, positive = [0.1, 0.2, 0.3, 0.7, 0.75, 0.9], [False, False, True, True, False, True]
    assert find_threshold([0.9, 0.95, 0.99], [False, True, True]) == pytest.approx(0.925)
    assert find_threshold(scores, positive) == pytest.approx(0.25)
    fit = learn_label_fit("threshold", [0.91, 0.93, 0.97, 0.99], [False, False, True, True])
    assert fit is not None
    assert fit.threshold == pytest.approx(0.95)
    assert fit.bend(0.3) == 0.3


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_curves_rise_and_come_near_the_shares_that_they_are_learnt_on(kind: str) -> None:
    draw = random.Random(0)
    raw = [draw.random() for _ in range(2000)]
    positive = [draw.random() < p**3 for p in raw]
    fit = learn_label_fit(kind, raw, positive)  # type: ignore[arg-type]
    assert fit is not None
    bent = [fit.bend(p / 20) for p in range(21)]
    assert bent == sorted(bent)
    assert fit.bend(0.9) == pytest.approx(0.9**3, abs=0.12)
    assert LabelFit.model_validate_json(fit.model_dump_json()) == fit


def test_one_kind_of_case_teaches_nothing() -> None:
    assert learn_label_fit("platt", [0.1, 0.2], [True, True]) is None
    assert area_under_curve([0.1, 0.2], [False, False]) is None


def test_the_area_under_the_curve_counts_ties_by_halves() -> None:
    assert area_under_curve([0.2, 0.5, 0.5, 0.9], [False, False, True, True]) == pytest.approx(0.875)


def test_a_curve_is_finite_at_its_ends() -> None:
    fit = LabelFit(kind="platt", threshold=0.5, slope=100.0, intercept=0.0)
    assert [fit.bend(0.0), fit.bend(1.0)] == pytest.approx([0.0, 1.0])
    assert LabelFit(kind="isotonic", threshold=0.5, knots=((0.2, 0.1), (0.8, 0.7))).bend(0.05) == 0.1
