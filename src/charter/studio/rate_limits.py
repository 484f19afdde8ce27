"""How often somebody may call: so many calls at once, and as many again over a minute."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MAX_NAMES = 10_000
"""Names that are remembered; the one that was longest silent is forgotten first, and begins anew."""


class RateLimiter:
    """A bucket for each name: a call takes one token, and the bucket fills within a minute.

    Args:
        per_minute: Tokens of a full bucket.
        clock: Seconds that never go back.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock, self._mutex = per_minute, clock, threading.Lock()
        self._buckets: OrderedDict[str, list[float]] = OrderedDict()

    def take_token(self, name: str) -> float:
        """Counts a call. 0 where it is allowed, else the seconds after which one would be; then it is not counted."""
        with self._mutex:
            tokens = self._fill(name)
            if tokens >= 1:
                self._buckets[name][0] = tokens - 1
                return 0.0
            return (1 - tokens) * 60 / self._most

    def seconds_to_wait(self, name: str) -> float:
        """0 where a call would be allowed, else the seconds after which one would be. Nothing is counted."""
        with self._mutex:
            return max(0.0, (1 - self._fill(name)) * 60 / self._most)

    def _fill(self, name: str) -> float:
        now = self._clock()
        tokens, since = self._buckets.get(name, (float(self._most), now))
        tokens = min(float(self._most), tokens + (now - since) * self._most / 60)
        self._buckets[name] = [tokens, now]
        self._buckets.move_to_end(name)
        while len(self._buckets) > MAX_NAMES:
            self._buckets.popitem(last=False)
        return tokens
