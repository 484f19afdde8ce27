"""Shares, paired comparisons and corrections against known values."""

from __future__ import annotations

import random
from functools import cache
from itertools import product
from math import comb, inf
from statistics import stdev

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, multinomial

from charter.statistics import (
    Counted,
    FileRates,
    Mean,
    bootstrap_mean,
    change_interval,
    clustered_interval,
    cohens_kappa,
    correct_share,
    flip_signs,
    gwet_ac1,
    holm,
    homogeneity_p,
    mcnemar,
    mean_change,
    rogan_gladen,
    share_bounds,
    smallest_detectable_change,
    wilson,
)

pytestmark = pytest.mark.slow

DRAWS = 250
"""Of a simulation here; the published ones have 2,000 (docs/evidence/measurement.json)."""


def known(value: float | None) -> float:
    assert value is not None
    return value


def slack(share: float, draws: int = DRAWS) -> float:
    """Three standard errors of a simulated share."""
    return float(3 * (share * (1 - share) / draws) ** 0.5)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [  # R. G. Newcombe, Statist. Med. 17 (1998), table I, Wilson score without continuity correction
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(hits: int, n: int, low: float, high: float) -> None:
    assert wilson(hits, n) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1])
def test_wilson_is_the_librarys(alpha: float) -> None:
    for hits, n in [(0, 1), (1, 1), (0, 40), (7, 24), (40, 40), (333, 1000)]:
        found = binomtest(hits, n).proportion_ci(1 - alpha, method="wilson")
        assert wilson(hits, n, alpha) == pytest.approx((found.low, found.high), rel=1e-12, abs=1e-15)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_is_symmetric(case: tuple[int, int]) -> None:
    hits, n = case
    low, high = wilson(hits, n)
    assert 0 <= low <= hits / n + 1e-12
    assert hits / n - 1e-12 <= high <= 1
    assert wilson(n - hits, n) == pytest.approx((1 - high, 1 - low))


def test_nothing_is_known_of_no_trials() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert mcnemar(0, 0) == 1.0
    assert holm([]) == []


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_two_sided_sign_test(gained: int, lost: int) -> None:
    n, few = gained + lost, min(gained, lost)
    tail = sum(comb(n, k) for k in range(few + 1)) / 2**n
    assert mcnemar(gained, lost) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(gained, lost) == mcnemar(lost, gained)


def test_holm_steps_down_in_the_order_given() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.9]) == [1.0, 1.0]
    assert holm([0.0]) == [0.0]


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_a_p_nor_swaps_two(values: list[float]) -> None:
    corrected = holm(values)
    assert all(p <= q <= 1 for p, q in zip(values, corrected, strict=True))
    ranked = sorted(range(len(values)), key=lambda i: values[i])
    assert [corrected[i] for i in ranked] == sorted(corrected)


@pytest.mark.parametrize(
    ("hits", "n", "unjudged", "least", "most"),
    [(3, 4, 0, 0.75, 0.75), (3, 4, 4, 0.375, 0.875), (0, 0, 5, 0.0, 1.0), (0, 0, 0, 0.0, 1.0)],
)
def test_the_unjudged_leave_a_share_open(hits: int, n: int, unjudged: int, least: float, most: float) -> None:
    assert share_bounds(hits, n, unjudged) == (least, most)


def test_kappa_is_agreement_beyond_chance() -> None:
    found = cohens_kappa([[45, 15], [25, 15]])  # by hand: (0.6 - 0.54) / (1 - 0.54)
    assert found.value == pytest.approx(0.06 / 0.46)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.06 / 0.46 < found.high
    assert cohens_kappa([[30, 0], [0, 12]]).value == pytest.approx(1)
    assert cohens_kappa([[0, 5], [5, 0]]).value == pytest.approx(-1)
    for nothing in ([[0, 0], [0, 0]], [[9, 0], [0, 0]], [[0, 0], [0, 9]], [[0, 0], [1, 1]], [[0, 0], [1, 2]]):
        assert cohens_kappa(nothing) == (None, None, None)


def test_ac1_is_the_published_one() -> None:
    """By hand, where two agree on 118 of 125 cases, all of one label: kappa falls to nothing, AC1 does not."""
    found = gwet_ac1([[118, 5], [2, 0]])
    share = (123 / 125 + 120 / 125) / 2
    chance = 2 * share * (1 - share)
    assert found.value == pytest.approx((118 / 125 - chance) / (1 - chance))
    assert found.value == pytest.approx(0.94, abs=0.005)
    assert known(cohens_kappa([[118, 5], [2, 0]]).value) < 0
    assert gwet_ac1([[0, 0], [0, 0]]) == (None, None, None)
    assert gwet_ac1([[9, 0], [0, 0]]).value == 1.0


def test_agreement_without_a_fault_has_an_interval() -> None:
    for table in ([[2, 0], [0, 2]], [[29, 0], [0, 1]]):
        for found in (cohens_kappa(table), gwet_ac1(table)):
            assert (found.value, found.high) == (1.0, 1.0)
            assert known(found.low) < 0.95
    assert known(cohens_kappa([[2, 0], [0, 2]]).low) < 0.5


@pytest.mark.parametrize(
    ("n", "rare", "right"), [(20, 0.5, 0.9), (50, 0.5, 0.9), (50, 0.1, 0.9), (30, 0.05, 0.97), (400, 0.1, 0.9)]
)
def test_the_intervals_of_agreement_cover_it(n: int, rare: float, right: float) -> None:
    shares = numpy.array([[(1 - rare) * right, (1 - rare) * (1 - right)], [rare * (1 - right), rare * right]])
    said = shares.sum(axis=0)
    agreed, chance = shares.trace(), (said * shares.sum(axis=1)).sum()
    both = (said + shares.sum(axis=1)) / 2
    truth = {cohens_kappa: (agreed - chance) / (1 - chance)}
    truth[gwet_ac1] = (agreed - 2 * both.prod()) / (1 - 2 * both.prod())
    drawn = numpy.random.default_rng(1).multinomial(n, shares.ravel(), size=DRAWS // 2).reshape(-1, 2, 2).tolist()
    for figure, true in truth.items():
        found = [one for table in drawn if (one := figure(table)).low is not None]
        held = sum(known(one.low) <= true <= known(one.high) for one in found)
        assert held / len(found) > 0.92 - slack(0.95, DRAWS // 2)


def test_a_share_is_corrected_for_its_judges_error() -> None:
    found = rogan_gladen(38, 100, Counted(80, 100), Counted(90, 100))  # (0.38 + 0.9 - 1) / (0.8 + 0.9 - 1)
    assert found is not None
    assert found.value == pytest.approx(0.4)
    assert not found.clipped
    assert 0.2 < found.low < 0.4 < found.high < 0.6
    sure = rogan_gladen(38, 100, Counted(80000, 100000), Counted(90000, 100000))
    assert sure is not None
    assert sure.high - sure.low < found.high - found.low
    perfect = rogan_gladen(380, 1000, Counted(10**9, 10**9), Counted(10**9, 10**9))
    assert perfect is not None
    assert perfect[:3] == pytest.approx((0.38, *wilson(380, 1000)), abs=1e-3)


def test_what_leaves_the_scale_is_clipped_and_says_so() -> None:
    found = rogan_gladen(8, 100, Counted(80, 100), Counted(90, 100))
    assert found is not None
    assert (found.value, found.low, found.clipped, found.fits) == (0.0, 0.0, True, True)
    assert 0 < found.high < 0.2
    for hits, wanted in ((0, 0.0), (100, 1.0)):
        odd = rogan_gladen(hits, 100, Counted(800, 1000), Counted(800, 1000))
        assert odd is not None
        assert odd[:5] == (wanted, wanted, wanted, True, False)


@pytest.mark.parametrize(
    ("n", "sensitivity", "specificity"),
    [(0, (8, 10), (8, 10)), (9, (0, 0), (8, 10)), (9, (8, 10), (0, 0)), (9, (5, 10), (5, 10)), (9, (1, 10), (2, 10))],
)
def test_nothing_is_corrected_by_a_judge_no_better_than_chance(
    n: int, sensitivity: tuple[int, int], specificity: tuple[int, int]
) -> None:
    assert rogan_gladen(n // 2, n, Counted(*sensitivity), Counted(*specificity)) is None


@pytest.mark.parametrize(
    ("share", "n", "se", "n_se", "sp", "n_sp"),
    [
        (0.0, 100, 0.9, 50, 0.9, 50),
        (0.05, 100, 0.8, 100, 0.8, 100),
        (0.3, 200, 0.8, 100, 0.8, 100),
        (0.5, 60, 0.95, 30, 0.9, 40),
        (0.2, 1000, 0.8, 60, 0.8, 60),
        (1.0, 100, 0.8, 60, 0.8, 60),
    ],
)
def test_the_corrected_interval_covers_the_true_share(
    share: float, n: int, se: float, n_se: int, sp: float, n_sp: int
) -> None:
    draw, held, rounds = numpy.random.default_rng(7), 0, 600
    chances = [share * se + (1 - share) * (1 - sp), se, sp]
    for judged, cleared, passed in draw.binomial([n, n_se, n_sp], chances, (rounds, 3)).tolist():
        found = rogan_gladen(judged, n, Counted(cleared, n_se), Counted(passed, n_sp))
        held += found is None or found.low <= share <= found.high
    assert held / rounds > 0.925  # 95 %, less three standard errors


@pytest.mark.parametrize(("gained", "lost", "n"), [(0, 6, 40), (9, 2, 30), (5, 5, 25), (0, 0, 20)])
def test_the_ends_of_a_changes_interval_are_where_what_was_seen_has_a_chance_of_a_fortieth(
    gained: int, lost: int, n: int
) -> None:
    """Told by summing the trinomial, at the likeliest share of gains found by search."""
    _, high = change_interval(gained, lost, n)
    same = n - gained - lost

    ups = numpy.linspace(max(0.0, high), (1 + high) / 2, 5_001)
    tried = numpy.column_stack([ups, ups - high, 1 - 2 * ups + high])
    shares = tried[numpy.nanargmax(multinomial.pmf([gained, lost, same], n, tried))]
    seen = [(a, b, n - a - b) for a in range(n + 1) for b in range(n + 1 - a) if a - b <= gained - lost]
    assert multinomial.pmf(seen, n, shares).sum() == pytest.approx(0.025, abs=2e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n))))
def test_a_change_lies_in_its_interval_which_is_symmetric_and_agrees_with_mcnemar(case: tuple[int, int, int]) -> None:
    gained, lost, n = case[0], min(case[1], case[2] - case[0]), case[2]
    low, high = change_interval(gained, lost, n)
    assert -1 <= low <= (gained - lost) / n <= high <= 1
    assert change_interval(lost, gained, n) == pytest.approx((-high, -low), abs=1e-7)
    wider = change_interval(gained, lost, n, 0.001)
    assert wider[0] <= low
    assert high <= wider[1]
    if mcnemar(gained, lost) < 0.04:  # exact McNemar is a little stricter
        assert low > 0 or high < 0


@pytest.mark.parametrize(("gained", "n"), [(5, 60), (5, 400)])
def test_an_interval_of_a_change_and_its_p_say_the_same(gained: int, n: int) -> None:
    low, high = change_interval(gained, 0, n)
    assert mcnemar(gained, 0) == pytest.approx(0.0625)
    assert low <= 0 < high
    assert change_interval(gained, 0, n, 0.1)[0] > 0
    assert change_interval(0, gained, n) == pytest.approx((-high, -low))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, min(n, 25)), st.integers(0, 25), st.just(n))))
def test_nothing_lies_in_the_interval_of_a_change_where_mcnemar_exceeds_alpha(case: tuple[int, int, int]) -> None:
    gained, lost, n = case[0], min(case[1], case[2] - case[0]), case[2]
    low, high = change_interval(gained, lost, n)
    assert (low <= 0 <= high) == (mcnemar(gained, lost) > 0.05)


def test_no_pair_says_nothing_of_a_change() -> None:
    assert change_interval(0, 0, 0) == (-1.0, 1.0)
    assert smallest_detectable_change(0) is None


def draw_changes(seed: int, draws: int, n: int, up: float, down: float) -> list[tuple[int, int]]:
    """How many of n pairs went up, and how many down, in each of so many draws."""
    counts = numpy.random.default_rng(seed).multinomial(n, [up, down, 1 - up - down], draws)
    return [(gained, lost) for gained, lost, _ in counts.tolist()]


@pytest.mark.parametrize(("up", "down", "n"), [(0.1, 0.1, 100), (0.02, 0.1, 200), (0.3, 0.1, 60), (0.0, 0.03, 400)])
def test_the_interval_of_a_change_covers_it(up: float, down: float, n: int) -> None:
    held, known = 0, cache(change_interval)
    for gained, lost in draw_changes(1, 1_000, n, up, down):
        low, high = known(gained, lost, n)
        held += low <= up - down <= high
    assert held / 1_000 > 0.95 - 3 * 0.0069


@pytest.mark.parametrize("n", [30, 100, 420])
def test_wilson_covers_the_share_over_all_shares(n: int) -> None:
    """For one share and n the chance goes up and down around 95 % (L. Brown and others, Statist. Sci. 16, 2001)."""
    rng, held = numpy.random.default_rng(2), 0
    shares = rng.random(1_000)
    for share, hits in zip(shares.tolist(), rng.binomial(n, shares).tolist(), strict=True):
        low, high = wilson(hits, n)
        held += low <= share <= high
    assert held / 1_000 > 0.95 - 3 * 0.0069


@pytest.mark.parametrize(("prompts", "skewed"), [(25, False), (60, True)])
def test_the_interval_of_a_mean_covers_it_where_answers_to_one_prompt_are_alike(prompts: int, skewed: bool) -> None:
    rng, held, naive = random.Random(4), 0, 0
    true, draws = 1.0 if skewed else 0.5, 2 * DRAWS
    for _ in range(draws):
        values, clusters = [], []
        for prompt in range(prompts):
            own = rng.expovariate(1) if skewed else rng.random()
            for _ in range(rng.randint(1, 4)):
                values.append(own + rng.gauss(0, 0.1))
                clusters.append(str(prompt))
        found = bootstrap_mean(values, clusters, draws=499, least=-inf, most=inf)
        assert found is not None
        assert found.clusters == prompts
        assert found.low is not None
        assert found.high is not None
        held += found.low <= true <= found.high
        spread = 1.96 * stdev(values) / len(values) ** 0.5
        naive += abs(found.value - true) <= spread
    assert held / draws > 0.95 - slack(0.95, draws) - 0.01 * skewed
    assert naive / draws < 0.9, "clusters do not matter here: the test says nothing"


def test_a_mean_says_whether_it_is_nothing_and_takes_no_pride_in_one_prompt() -> None:
    rng = random.Random(6)
    values, ids = [rng.gauss(0.3, 1) for _ in range(200)], [str(k) for k in range(200)]
    centred = [v - sum(values) / 200 for v in values]
    found, none = bootstrap_mean(values, ids, least=-inf, most=inf), bootstrap_mean(centred, ids, least=-inf, most=inf)
    assert found is not None
    assert none is not None
    assert known(found.low) > 0
    assert known(found.p) < 0.01
    assert known(none.p) > 0.9
    assert found == bootstrap_mean(values, ids, least=-inf, most=inf)
    assert bootstrap_mean([], []) is None
    one = bootstrap_mean([0.25, 0.75], ["a", "a"])
    assert one == Mean(0.5, None, None, None, 1)


def test_equal_values_leave_open_what_was_never_seen() -> None:
    """Of three there may be seven in ten that were not seen; the p is that of the sign test."""
    same = bootstrap_mean([1.0, 1.0, 1.0], ["a", "b", "c"])
    assert same is not None
    assert same.p == pytest.approx(0.25)
    assert (same.low, same.high) == pytest.approx((1 - 2 * (1 - 0.025 ** (1 / 3)), 1.0))
    within = bootstrap_mean([0.5] * 8, list("abcdefgh"), least=0.0)
    assert within is not None
    assert (within.low, within.high) == pytest.approx((0.5 - 0.5 * 0.3694, 0.5 + 0.5 * 0.3694), abs=1e-4)
    boundless = bootstrap_mean([0.5] * 8, list("abcdefgh"), least=-inf, most=inf)
    assert boundless is not None
    assert (boundless.low, boundless.high) == (None, None)


def test_rare_values_leave_a_mean_an_interval_that_can_be_read() -> None:
    """A sample drawn without them has no error of its own; it must not count as infinitely sure."""
    values, ids = [-1.0] * 157 + [0.0] * 3, [str(k) for k in range(160)]
    found = bootstrap_mean(values, ids)
    assert found is not None
    assert -1 <= known(found.low) < found.value < known(found.high) < -0.9
    assert known(found.p) < 0.001
    low, high = wilson(3, 160)
    assert found.high == pytest.approx(high - 1, abs=0.02)
    assert found.low == pytest.approx(low - 1, abs=0.02)
    once = bootstrap_mean([0.5] * 19 + [1.0], ids[:20], least=0.0)
    assert once is not None
    assert known(once.high) > 0.6, "one in twenty may be one in five"


@pytest.mark.parametrize(("share", "alike"), [(0.5, True), (0.9, True), (0.95, True), (0.98, True), (0.9, False)])
def test_the_interval_of_a_clustered_share_covers_it(share: float, alike: bool) -> None:
    """20 prompts in 5 wordings each, which stand or fall together, or each for itself."""
    rng, held, naive = random.Random(9), 0, 0
    ids = [str(prompt) for prompt in range(20) for _ in range(5)]
    for _ in range(1_000):
        own = [rng.random() < share for _ in range(20)]
        values = [float(own[k // 5] if alike else rng.random() < share) for k in range(100)]
        low, high = clustered_interval(values, ids)
        held += low <= share <= high
        low, high = wilson(sum(values), 100)
        naive += low <= share <= high
    assert held / 1_000 > 0.95 - 3 * 0.0069 - 0.02
    assert not alike or naive / 1_000 < 0.9, "clusters do not matter here: the test says nothing"


def test_a_share_without_clusters_has_wilsons_interval() -> None:
    for hits in (0, 3, 17, 20):
        values = [1.0] * hits + [0.0] * (20 - hits)
        assert clustered_interval(values, [str(k) for k in range(20)]) == pytest.approx(wilson(hits, 20), abs=1e-9)
    assert clustered_interval([], []) == (0.0, 1.0)
    assert clustered_interval([1.0] * 100, [str(k // 5) for k in range(100)]) == pytest.approx(wilson(20, 20))


@pytest.mark.parametrize(("up", "down", "seeds"), [(0.0, 0.02, 1), (0.1, 0.05, 3), (0.02, 0.3, 3)])
def test_the_interval_of_what_moved_covers_it_where_seeds_agree(up: float, down: float, seeds: int) -> None:
    rng, held, alarms = random.Random(11), 0, 0
    for _ in range(DRAWS):
        moves = []
        for _ in range(100):
            drawn, luck = rng.random(), rng.random()
            move = 1 if drawn < up else -1 if drawn < up + down else 0
            moves.append(move * (1.0 if seeds == 1 or luck < 0.5 else 2 / 3))
        found = mean_change(moves)
        assert found is not None
        true = (up - down) * (1.0 if seeds == 1 else 5 / 6)
        held += found.low <= true <= found.high
        alarms += flip_signs([m if rng.random() < 0.5 else -m for m in moves]) <= 0.05
    assert held / DRAWS > 0.95 - slack(0.95)
    assert alarms / DRAWS < 0.05 + slack(0.05)


@pytest.mark.parametrize("moves", [[1 / 5] * 50 + [-1.0] * 10 + [0.0] * 140, [1 / 3] * 15 + [-1.0] * 5 + [0.0] * 180])
def test_many_small_gains_that_few_great_losses_outweigh_are_no_change(moves: list[float]) -> None:
    found = mean_change(moves)
    assert found is not None
    assert found.value == pytest.approx(0)
    assert found.p == pytest.approx(1.0)
    assert found.low < 0 < found.high


def test_the_sign_flips_are_mcnemar_on_whole_moves_and_enumerated_on_others() -> None:
    assert flip_signs([1.0] * 9 + [-1.0] * 2 + [0.0] * 30) == pytest.approx(mcnemar(9, 2))
    for moves in ([1 / 3, 1.0, 2 / 3, -1 / 3, 1.0, 0.0], [0.12345, -0.5, 0.71, 0.2, 0.9]):
        sums = [sum(s * m for s, m in zip(signs, moves, strict=True)) for signs in product((1, -1), repeat=len(moves))]
        far = sum(abs(total) >= abs(sum(moves)) - 1e-9 for total in sums) / len(sums)
        low = sum(total <= sum(moves) + 1e-9 for total in sums) / len(sums)
        assert flip_signs(moves) == pytest.approx(far)
        assert flip_signs(moves, "less") == pytest.approx(low)
        assert flip_signs(moves) == flip_signs(moves[::-1])
    many = [random.Random(3).gauss(0.1, 1) for _ in range(100)]
    assert flip_signs(many) == flip_signs(many)


@pytest.mark.parametrize("n", [5, 10, 20, 60, 400])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_a_change_is_not_found_where_one_side_is_steady_and_the_other_is_not(n: int, seeds: int) -> None:
    """Equal means; one side answers alike under every seed. And 0 lies in the interval just where p exceeds 0.05."""
    draw, alarms, draws = numpy.random.default_rng(n * seeds), 0, DRAWS // 5 if n == 400 else DRAWS
    for _ in range(draws):
        steady = draw.random(n) < 0.5
        found = mean_change((draw.binomial(seeds, 0.5, n) / seeds - steady).tolist())
        assert found is not None
        assert (found.low <= 0 <= found.high) or found.p <= 0.05
        assert found.p > 0.05 or found.low >= 0 or found.high <= 0
        alarms += found.p <= 0.05
    assert alarms / draws <= 0.05 + slack(0.05, draws)


@pytest.mark.parametrize("n", [5, 10, 20, 60, 400])
@pytest.mark.parametrize(
    ("shape", "true", "ends", "least"),
    [
        ("normal", 0.0, (-inf, inf), 0.93),
        ("uniform", 0.5, (0.0, 1.0), 0.93),
        ("rare", 0.1, (0.0, 1.0), 0.90),
    ],
)
def test_the_interval_of_a_mean_covers_it_from_five_values_on(
    n: int, shape: str, true: float, ends: tuple[float, float], least: float
) -> None:
    draw, held, draws = numpy.random.default_rng(n), 0, DRAWS // 5 if n == 400 else DRAWS
    ids = [str(k) for k in range(n)]
    drawn = {
        "normal": draw.standard_normal((draws, n)),
        "uniform": draw.random((draws, n)),
        "rare": draw.beta(0.1, 0.9, (draws, n)),
    }
    for values in drawn[shape].tolist():
        found = bootstrap_mean(values, ids, draws=199, least=ends[0], most=ends[1])
        assert found is not None
        held += known(found.low) <= true <= known(found.high)
    assert held / draws > least - slack(0.95, draws) - (0.03 if n < 20 and shape == "rare" else 0)


@pytest.mark.parametrize("clusters", [5, 10, 30, 100])
def test_a_clustered_share_is_covered_where_few_clusters_tell_how_much_they_vary(clusters: int) -> None:
    """Ten answers to each, whose chances differ by a beta distribution with a correlation of 0.3 within a cluster."""
    draw, held = numpy.random.default_rng(clusters), 0
    ids = [str(k) for k in range(clusters) for _ in range(10)]
    for _ in range(DRAWS):
        own = draw.beta(0.5 * 0.7 / 0.3, 0.5 * 0.7 / 0.3, clusters).repeat(10)
        low, high = clustered_interval((draw.random(10 * clusters) < own).astype(float).tolist(), ids)
        held += low <= 0.5 <= high
    assert held / DRAWS > 0.93 - slack(0.95)


def test_with_one_labelled_file_a_share_is_corrected_as_by_rogan_and_gladen() -> None:
    assert correct_share(38, 100, [FileRates(80, 100, 90, 100)]) == rogan_gladen(
        38, 100, Counted(80, 100), Counted(90, 100)
    )
    assert correct_share(38, 100, []) is None
    assert correct_share(38, 100, [FileRates(0, 0, 0, 0)]) is None


def test_files_that_differ_widen_a_corrected_share_and_say_so() -> None:
    alike = [FileRates(80, 100, 90, 100)] * 4
    unlike = [FileRates(80, 100, c, 100) for c in (99, 97, 90, 60)]
    even, wide = correct_share(38, 100, alike), correct_share(38, 100, unlike)
    assert even is not None
    assert wide is not None
    assert even.held == pytest.approx(1)
    assert even.value == pytest.approx(0.4)
    assert wide.high - wide.low > even.high - even.low + 0.05
    assert homogeneity_p([(f.cleared, f.complying) for f in alike]) == pytest.approx(1)
    assert known(homogeneity_p([(f.cleared, f.complying) for f in unlike])) < 1e-9
    assert homogeneity_p([(3, 4), (0, 0)]) is None
    assert homogeneity_p([(4, 4), (3, 3)]) == 1.0


@pytest.mark.parametrize(("files", "n", "differ"), [(4, 60, 0.0), (4, 100, 0.5), (4, 450, 0.8), (8, 100, 0.5)])
def test_the_corrected_share_of_a_further_file_is_covered_where_files_differ(files: int, n: int, differ: float) -> None:
    """Sensitivity and specificity of about .88, that differ between files by so much (deviation of logits)."""
    draw, held, pooled, draws = numpy.random.default_rng(3), 0, 0, 2 * DRAWS

    def file() -> tuple[float, FileRates]:
        share, se, sp = (
            1 / (1 + numpy.exp(-m - s * draw.standard_normal())) for m, s in ((0, 0.8), *[(2, differ)] * 2)
        )
        bad = int(draw.binomial(n, share))
        return float(share), FileRates(int(draw.binomial(bad, se)), bad, int(draw.binomial(n - bad, sp)), n - bad)

    for _ in range(draws):
        known_files, (share, own) = [file()[1] for _ in range(files)], file()
        found = correct_share(own.positives, n, known_files)
        sums = [sum(column) for column in zip(*known_files, strict=True)]
        old = rogan_gladen(own.positives, n, Counted(sums[0], sums[1]), Counted(sums[2], sums[3]))
        held += found is None or found.low <= share <= found.high
        pooled += old is None or old.low <= share <= old.high
    assert held / draws > 0.90 - slack(0.95, draws)
    assert differ < 0.8 or pooled / draws < 0.7, "files do not matter here: the test says nothing"


def test_what_did_not_move_is_not_known_better_than_n_allows() -> None:
    found = mean_change([0.0] * 2)
    assert found is not None
    assert (found.value, found.p) == (0.0, 1.0)
    assert found.low < -0.5
    assert found.high > 0.5
    assert mean_change([]) is None


@pytest.mark.parametrize("n", [60, 200, 420])
def test_what_n_pairs_can_show_is_shown_four_times_in_five(n: int) -> None:
    for against in (0.0, 0.05):
        smallest = smallest_detectable_change(n, against)
        assert smallest is not None
        drawn = draw_changes(n, 400, n, smallest + against, against)
        found = sum(up > down and mcnemar(up, down) <= 0.05 for up, down in drawn)
        assert 0.73 < found / 400 < 0.87


def test_more_pairs_show_less_and_five_show_nothing() -> None:
    smallest = [smallest_detectable_change(n) or 9.0 for n in (10, 20, 50, 200, 1000)]
    assert smallest == sorted(smallest, reverse=True)
    assert smallest_detectable_change(5) is None
    assert (smallest_detectable_change(200, margin=0.03) or 9.0) > (smallest_detectable_change(200) or 0.0)
    assert smallest_detectable_change(10, margin=0.9) is None
