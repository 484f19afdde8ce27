"""Buckets of tokens, on a clock of the test's own."""

from __future__ import annotations

import pytest

from charter.studio.rate_limits import MAX_NAMES, RateLimiter


def test_a_bucket_empties_and_fills_again() -> None:
    now = [0.0]
    limiter = RateLimiter(6, lambda: now[0])
    assert [limiter.take_token("a") for _ in range(6)] == [0.0] * 6
    assert limiter.take_token("a") == pytest.approx(10.0)
    assert limiter.take_token("b") == 0.0
    now[0] = 9.0
    assert limiter.take_token("a") == pytest.approx(1.0)
    assert limiter.seconds_to_wait("a") == pytest.approx(1.0)
    now[0] = 10.0
    assert limiter.take_token("a") == 0.0
    assert limiter.take_token("a") > 0
    now[0] = 1000.0
    assert [limiter.take_token("a") > 0 for _ in range(7)] == [False] * 6 + [True]


def test_who_was_silent_longest_is_forgotten() -> None:
    limiter = RateLimiter(1, lambda: 0.0)
    for number in range(MAX_NAMES + 1):
        limiter.take_token(str(number))
    assert limiter.take_token("0") == 0.0
    assert limiter.take_token(str(MAX_NAMES)) > 0
