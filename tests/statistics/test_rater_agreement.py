"""Agreement of people: known examples, a library as the other way, and intervals that are no wider than all."""

from __future__ import annotations

import random

import numpy
import pytest
from sklearn.metrics import cohen_kappa_score

from charter.statistics import measure_agreement
from charter.statistics.rater_agreement import _figures_of_patterns

MENU = ("a", "b", "c")


def make_ratings(seed: int, items: int, raters: int, missing: float) -> list[dict[str, str | None]]:
    draw = random.Random(seed)
    made = []
    for _ in range(items):
        true = draw.choice("aabc")
        given = {f"r{n}": true if draw.random() < 0.8 else draw.choice(MENU) for n in range(raters)}
        made.append({rater: label for rater, label in given.items() if draw.random() >= missing})
    return [dict(said) for said in made]


def test_krippendorffs_own_example() -> None:
    """The reliability data in K. Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011, part C: 0.743."""
    coders = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
    ratings = [
        {name: label for name, label in zip("abcd", said, strict=True) if label != "."}
        for said in zip(*coders, strict=True)
    ]
    found = measure_agreement(ratings, list("12345"))
    assert found.alpha.value == pytest.approx(0.743, abs=5e-4)
    assert found.n == 11
    assert (found.alpha.low or 1) < 0.743 < (found.alpha.high or 0)


@pytest.mark.parametrize("seed", range(6))
def test_of_two_raters_all_ways_are_one(seed: int) -> None:
    ratings = make_ratings(seed, 60, 2, 0.0)
    found = measure_agreement(ratings, MENU)
    (pair,) = found.pairs
    first, second = ([said[rater] for said in ratings] for rater in ("r0", "r1"))
    assert pair.kappa.value == pytest.approx(cohen_kappa_score(first, second, labels=list(MENU)))
    counts = numpy.array([[list(said.values()).count(label) for label in MENU] for said in ratings])
    agreed, ac1, _ = _figures_of_patterns(counts, numpy.ones((1, len(counts))))
    assert (found.ac1, found.agreed.low) == (pair.ac1, pair.agreed.low)
    assert found.ac1.value == pytest.approx(ac1[0])
    assert found.agreed.value == pytest.approx(agreed[0])
    assert (pair.n, found.n, found.raters, found.unsure) == (60, 60, 2, 0)


@pytest.mark.parametrize("seed", range(6))
def test_alpha_over_patterns_is_the_librarys(seed: int) -> None:
    ratings = make_ratings(seed, 40, 4, 0.3)
    found = measure_agreement(ratings, MENU)
    shared = [said for said in ratings if len(said) > 1]
    counts = numpy.array([[list(said.values()).count(label) for label in MENU] for said in shared])
    alpha = _figures_of_patterns(counts, numpy.ones((1, len(counts))))[2][0]
    assert found.alpha.value == pytest.approx(alpha)
    for figure in (found.agreed, found.ac1, found.alpha):
        assert figure.value is not None
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low < figure.value < figure.high <= 1


def test_full_agreement_keeps_an_interval_and_one_label_has_no_kappa() -> None:
    whole = measure_agreement([{"x": "a", "y": "a"}] * 9 + [{"x": "b", "y": "b"}], MENU)
    assert (whole.alpha.value, whole.ac1.value) == (1, 1)
    assert (whole.alpha.low or 1) < 0.97
    same = measure_agreement([{"x": "a", "y": "a"}] * 9, MENU)
    assert same.alpha.value is None
    assert same.pairs[0].kappa.value is None
    assert same.pairs[0].ac1.value == 1
    assert same.ac1.value == 1


def test_who_is_unsure_or_alone_is_left_out_and_counted() -> None:
    found = measure_agreement([{"x": "a", "y": None}, {"x": "a"}, {"x": "a", "y": "b"}], MENU)
    assert (found.n, found.unsure, found.raters) == (1, 1, 2)
    assert found.agreed.value == 0
    nothing = measure_agreement([{"x": None, "y": None}], MENU)
    assert (nothing.n, nothing.alpha.value, nothing.pairs) == (0, None, ())
