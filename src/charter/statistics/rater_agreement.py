"""How far people agree who label the same items: of each two Cohen's kappa, of all Gwet's AC1 and Krippendorff's
alpha, which take items with different numbers of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from charter.records.measurements import Proportion
from charter.records.reviews import AgreementFigure, RaterAgreement, RaterPair
from charter.statistics.agreement import DRAWS, Kappa, cohens_kappa, gwet_ac1
from charter.statistics.shares import wilson

NO_FIGURE = AgreementFigure(value=None, low=None, high=None)


def measure_agreement(ratings: Sequence[Mapping[str, str | None]], menu: Sequence[str]) -> RaterAgreement:
    """How far raters agree.

    Args:
        ratings: of each item the label that each rater gave; None: unsure, which is no label.
        menu: every label that could be given, two at least.
    """
    unsure = sum(label is None for said in ratings for label in said.values())
    told = [{rater: label for rater, label in said.items() if label is not None} for said in ratings]
    shared = [said for said in told if len(said) > 1]
    names = sorted({rater for said in shared for rater in said})
    agreed, ac1, alpha = _measure_all(shared, menu) if shared else (NO_FIGURE,) * 3
    pairs = [_compare_pair(shared, (one, other), menu) for one, other in combinations(names, 2)]
    if len(names) == 2:  # then they are all, and one figure has one interval
        share = pairs[0].agreed
        agreed, ac1 = AgreementFigure(value=share.value, low=share.low, high=share.high), pairs[0].ac1
    return RaterAgreement(
        n=len(shared),
        raters=len(names),
        unsure=unsure,
        agreed=agreed,
        ac1=ac1,
        alpha=alpha,
        pairs=tuple(pair for pair in pairs if pair.n),
    )


def _compare_pair(ratings: Sequence[Mapping[str, str]], raters: tuple[str, str], menu: Sequence[str]) -> RaterPair:
    """Two raters on the items that both labelled. A label that neither of them gave is left out of kappa's table."""
    one, other = raters
    both = [(said[one], said[other]) for said in ratings if one in said and other in said]
    used = [label for label in menu if any(label in pair for pair in both)]
    hits = sum(mine == theirs for mine, theirs in both)
    low, high = wilson(hits, len(both))
    return RaterPair(
        raters=raters,
        n=len(both),
        agreed=Proportion(hits=hits, n=len(both), value=hits / len(both) if both else None, low=low, high=high),
        kappa=_figure(cohens_kappa(_count_table(both, used))) if len(used) > 1 else NO_FIGURE,
        ac1=_figure(gwet_ac1(_count_table(both, menu))),
    )


def _count_table(both: Sequence[tuple[str, str]], labels: Sequence[str]) -> list[list[int]]:
    return [[sum(pair == (row, column) for pair in both) for column in labels] for row in labels]


def _figure(found: Kappa) -> AgreementFigure:
    return AgreementFigure(value=found.value, low=found.low, high=found.high)


def _measure_all(
    ratings: Sequence[Mapping[str, str]], menu: Sequence[str]
) -> tuple[AgreementFigure, AgreementFigure, AgreementFigure]:
    """Agreement, AC1 and alpha over items with two labels or more. Intervals: the middle 95 % over samples of items as
    likely as the one seen, a Bayesian bootstrap (D. B. Rubin, Ann. Statist. 9, 1981). One case counts beforehand, over
    all the ways in which two raters can answer (W. Perks, J. Inst. Actuaries 73, 1947), so that no interval vanishes
    where all agree."""
    import krippendorff
    import numpy

    counts = numpy.array([[list(said.values()).count(label) for label in menu] for said in ratings])
    found, times = numpy.unique(counts, axis=0, return_counts=True)
    one_label = numpy.eye(len(menu))
    pseudo = (one_label[:, None, :] + one_label[None, :, :]).reshape(-1, len(menu))
    mass = numpy.concatenate([times, numpy.full(len(pseudo), 1 / len(pseudo))])
    drawn = numpy.random.default_rng(0).dirichlet(mass, DRAWS) * mass.sum()
    agreed, ac1, _ = _figures_of_patterns(found, times[None, :])
    spread = _figures_of_patterns(numpy.concatenate([found, pseudo]), drawn)
    alpha = float("nan")
    if (counts.sum(axis=0) > 0).sum() > 1:
        alpha = float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))
    first, second, third = map(_with_interval, (float(agreed[0]), float(ac1[0]), alpha), spread)
    return first, second, third


def _with_interval(value: float, draws: Any) -> AgreementFigure:
    import numpy

    if numpy.isnan(value):
        return NO_FIGURE
    low, high = numpy.nanquantile(draws, (0.025, 0.975)).tolist()
    return AgreementFigure(value=value, low=min(low, value), high=max(high, value))


def _figures_of_patterns(patterns: Any, weights: Any) -> tuple[Any, Any, Any]:
    """Agreement, AC1 and alpha of every row of ``weights``.

    Args:
        patterns: (P, L) how many raters gave each of L labels; each row is what was said of some items.
        weights: (D, P) how many items have each pattern.

    AC1 is that of K. L. Gwet (Br. J. Math. Stat. Psychol. 61, 2008) for several raters; alpha is that of
    K. Krippendorff (Content Analysis, 2004, chapter 11) for nominal data."""
    import numpy

    labels = patterns.shape[1]
    size = patterns.sum(axis=1)
    pairs = patterns[:, :, None] * patterns[:, None, :] - patterns[:, :, None] * numpy.eye(labels)
    together = numpy.einsum("dp,pij->dij", weights, pairs / (size - 1)[:, None, None])
    same = numpy.trace(pairs, axis1=1, axis2=2) / (size * (size - 1))
    items = weights.sum(axis=1)
    agreed, shares = weights @ same / items, weights @ (patterns / size[:, None]) / items[:, None]
    chance = (shares * (1 - shares)).sum(axis=1) / (labels - 1)
    said = together.sum(axis=2)
    n = said.sum(axis=1)
    apart, by_chance = n - numpy.trace(together, axis1=1, axis2=2), (n**2 - (said**2).sum(axis=1)) / (n - 1)
    with numpy.errstate(invalid="ignore"):  # alpha is not defined where one label alone was given
        return agreed, (agreed - chance) / (1 - chance), 1 - apart / by_chance
