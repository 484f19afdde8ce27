"""Paired comparisons: what changed between two times that the same prompts were answered, and what so many can show."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any, Literal, NamedTuple

_TINY = 1e-9
_FINEST = 1000
"""Moves are read as fractions of at most this denominator."""
_CELLS = 20_000_000
"""Most additions for which the distribution of a sign-flip test is computed whole."""


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided McNemar p of a paired comparison: pairs that only the second passes, that only the first
    passes."""
    if gained + lost == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost, 0.5).pvalue)


def flip_signs(moves: Sequence[float], alternative: Literal["two-sided", "less"] = "two-sided") -> float:
    """The p of a sign-flip test of the mean: how often it would be as far from 0 (or as low: ``less``), were each move
    as likely to have gone the other way (R. A. Fisher, The Design of Experiments, 1935, section 21).

    On whole moves it is exact McNemar, or the sign test. It is exact where the moves are fractions of a common small
    denominator, and where there are few; elsewhere it is drawn, 9,999 times, the same for the same moves."""
    sizes = Counter(Fraction(abs(move)).limit_denominator(_FINEST) for move in moves if abs(move) > _TINY)
    if not sizes:
        return 1.0
    unit = math.lcm(*(size.denominator for size in sizes))
    total = int(unit * sum(size * count for size, count in sizes.items()))
    if total * sizes.total() > _CELLS or any(
        abs(abs(m) - Fraction(abs(m)).limit_denominator(_FINEST)) > _TINY for m in moves
    ):
        return _drawn(moves, alternative)
    seen = round(unit * math.fsum(moves))
    chances = _flipped({int(unit * size): count for size, count in sizes.items()}, total)
    if alternative == "less":
        return min(1.0, float(chances[: (total + seen) // 2 + 1].sum()))
    return min(1.0, 2 * float(chances[: (total - abs(seen)) // 2 + 1].sum()))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (S. Holm, Scand. J. Statist. 6, 1979), in the order given."""
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, at in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, values[at] * (len(values) - rank)))
        adjusted[at] = highest
    return adjusted


def change_interval(gained: int, lost: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Interval of the change of a share on the same ``n`` prompts, of which ``gained`` are hits only the second time
    and ``lost`` only the first: each end is the change under which what was seen, or more, has a chance of alpha / 2,
    the rest being as likely as the data allow. (-1, 1) for n = 0.

    Approximate unconditional interval (M.-L. Tang, N.-S. Tang, I. Chan, Statist. Med. 24, 2005) on the net change:
    Tango's score interval errs too often at the small alpha of many comparisons. No change at all is tested by exact
    McNemar, which is stricter: 0 lies in the interval wherever its p exceeds alpha."""
    low, high = -_largest_change(lost, gained, n, alpha / 2), _largest_change(gained, lost, n, alpha / 2)
    if (low > 0 or high < 0) and mcnemar(gained, lost) > alpha:
        return min(low, 0.0), max(high, 0.0)
    return low, high


class MeanChange(NamedTuple):
    """The mean change over ``n`` independent prompts with its 95 % interval; ``p``: two-sided, that there is none."""

    value: float
    low: float
    high: float
    p: float
    n: int


def mean_change(moves: Sequence[float], alpha: float = 0.05) -> MeanChange | None:
    """The change of a share where each prompt counts once, by the mean change of its answers (between -1 and 1; several
    seeds or wordings make fractions). The p is of ``flip_signs``. The interval is that of ``change`` on whole prompts,
    rounded to the wider side; as in ``change``, the p decides whether 0 lies in it. None without prompts."""
    n = len(moves)
    if not n:
        return None
    gained, lost = math.fsum(m for m in moves if m > 0), -math.fsum(m for m in moves if m < 0)
    low = -_largest_change(math.ceil(lost - _TINY), math.floor(gained + _TINY), n, alpha / 2)
    high = _largest_change(math.ceil(gained - _TINY), math.floor(lost + _TINY), n, alpha / 2)
    value, p = (gained - lost) / n, flip_signs(moves)
    if p > alpha:
        low, high = min(low, 0.0), max(high, 0.0)
    elif value > 0:
        low = max(low, 0.0)
    else:
        high = min(high, 0.0)
    return MeanChange(value, low, high, p, n)


def smallest_detectable_change(
    n: int, against: float = 0.0, margin: float = 0.0, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The smallest change of a share that ``n`` pairs show with this power: beyond ``margin``, at a two-sided
    ``alpha``, by exact McNemar where the margin is 0 and by ``change`` elsewhere. ``against``: share of the pairs that
    change the other way. None where no change can be shown."""
    if n == 0:
        return None
    back = round(n * against)

    def shows(one_way: int) -> bool:
        if margin == 0:
            return mcnemar(one_way, back) <= alpha
        return _tail_chance(one_way, back, n, margin) <= alpha / 2

    counts = range(min(n, back + math.ceil(margin * n)), n - back + 1)
    found = bisect_left(counts, True, key=shows)
    if found == len(counts):
        return None
    from scipy.optimize import brentq

    needed, most = counts[found] - back, 1 - 2 * against

    def lacking(by: float) -> float:
        return power - _net_change_chance(n, by + against, against, needed)

    return float(brentq(lacking, 0, most)) if lacking(most) < 0 else None


@cache
def pairs_needed(margin: float, changing: float = 0.0, alpha: float = 0.1) -> int:
    """The least n that shows a drop to be smaller than ``margin`` where there is none: the lower end of ``change`` is
    above -margin. ``changing``: share of the pairs that change, half of them either way."""
    low, high = 1, 2

    def enough(n: int) -> bool:
        moved = math.ceil(changing * n / 2)
        return change_interval(moved, moved, n, alpha)[0] > -margin

    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _flipped(sizes: dict[int, int], total: int) -> Any:
    """The chances of 0 to ``total`` as the sum of those moves that go up; ``sizes``: how many moves are of each."""
    import numpy
    from scipy.stats import binom

    chances, reach = numpy.zeros(total + 1), 0
    chances[0] = 1.0
    for size, count in sizes.items():
        before, chances = chances[: reach + 1], numpy.zeros(total + 1)
        for up, chance in enumerate(binom.pmf(range(count + 1), count, 0.5)):
            chances[size * up : size * up + reach + 1] += chance * before
        reach += size * count
    return chances


def _drawn(moves: Sequence[float], alternative: Literal["two-sided", "less"]) -> float:
    """The same by drawn signs (all of them where there are few)."""
    import numpy
    from scipy.stats import permutation_test

    found = permutation_test(
        (numpy.sort(numpy.asarray(moves)),),
        numpy.mean,
        permutation_type="samples",
        alternative=alternative,
        n_resamples=9_999,
        batch=1_000,
        rng=numpy.random.default_rng(0),
    )
    return float(found.pvalue)


def _largest_change(gained: int, lost: int, n: int, alpha: float) -> float:
    """The greatest change under which one as small as was seen has at least the chance ``alpha``."""
    if n == 0 or gained == n:
        return 1.0
    from scipy.optimize import brentq

    def chance(change: float) -> float:
        return _tail_chance(lost, gained, n, -change) - alpha

    return float(brentq(chance, (gained - lost) / n, 1))


def _tail_chance(lost: int, gained: int, n: int, loss: float) -> float:
    """The chance of a net loss as great as was seen, were the true one ``loss``; the share of pairs that gain is then
    the likeliest given the data (T. Tango, Statist. Med. 17, 1998, equation 2)."""
    half = -gained - lost + (2 * n - lost + gained) * loss
    back = (math.sqrt(max(0.0, half * half + 8 * n * gained * loss * (1 - loss))) - half) / (4 * n)
    back = min(max(0.0, -loss, back), (1 - loss) / 2)
    return _net_change_chance(n, back + loss, back, lost - gained)


def _net_change_chance(n: int, one: float, other: float, least: int) -> float:
    """The chance that, of n pairs, those that change one way outnumber those that change the other by ``least``."""
    from scipy.fft import irfft, next_fast_len

    size = int(next_fast_len(2 * n + 1, real=True))
    chances = irfft(_waves(n, size, one, other), size)
    return float(chances[max(0, least) : n + 1].sum() + (chances[least:].sum() if least < 0 else 0.0))


def _waves(n: int, size: int, one: float, other: float) -> Any:
    """The characteristic function of the net change of n pairs, conjugate, at the frequencies of a real transform."""
    import numpy

    turn = numpy.exp(-2j * math.pi * numpy.arange(size // 2 + 1) / size)
    return (one * turn + (1 - one - other) + other * turn.conj()) ** n
