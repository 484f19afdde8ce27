"""What a run has taken of its budget: tokens, money and hours, counted over every process that worked on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from charter.errors import BudgetError
from charter.records.chat import Completion, LogLikelihood
from charter.runs.store import Event
from charter.spec import Budget

Price = tuple[float, float]
"""Of a million tokens read, and of a million written."""
MILLION = 1_000_000
_IDLE_BEFORE = ("created", "resumed", "human", "forked")
"""Events before which nobody was at work."""


@dataclass
class Usage:
    """Calls answered, their tokens, the seconds spent waiting for them, and what they cost (None: unknown)."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    money: float | None = 0.0

    def add(self, answer: Completion | LogLikelihood, price: Price | None, first: bool = True) -> None:
        """Counts one answer; a log-likelihood's tokens were read, not written. ``first``: it is its call's first answer
        (a call may weigh several labels)."""
        if isinstance(answer, LogLikelihood):
            read, written = answer.tokens_in + answer.tokens, 0
        else:
            read, written = answer.tokens_in, answer.tokens_out
        self.calls += first
        self.tokens_in += read
        self.tokens_out += written
        cost = None if price is None else (read * price[0] + written * price[1]) / MILLION
        self.money = None if self.money is None or cost is None else self.money + cost


@dataclass
class Spending:
    """Tokens and money of the oracles so far, and the seconds of work before this process."""

    budget: Budget
    tokens: int = 0
    money: float = 0.0
    seconds_before: float = 0.0
    started_at: float = field(default_factory=time.monotonic)
    mutex: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def from_events(cls, events: Sequence[Event], budget: Budget) -> Spending:
        """From a journal."""
        found = cls(budget)
        for event in events:
            if event["event"] == "answered" and event["purpose"] != "target":
                found.tokens += event["tokens_in"] + event["tokens_out"]
                found.money += event.get("money") or 0.0
        for last, event in pairwise(events):
            if event["event"] not in _IDLE_BEFORE:
                found.seconds_before += max(0.0, (_event_time(event) - _event_time(last)).total_seconds())
        return found

    def add(self, answer: Completion | LogLikelihood, price: Price | None) -> None:
        """Counts one answer of an oracle."""
        usage = Usage()
        usage.add(answer, price)
        with self.mutex:
            self.tokens += usage.tokens_in + usage.tokens_out
            self.money += usage.money or 0.0

    @property
    def hours(self) -> float:
        """Hours of work, pauses left out."""
        return (self.seconds_before + time.monotonic() - self.started_at) / 3600

    def find_reached_limit(self, oracle: bool) -> BudgetError | None:
        """The limit that is reached, if one is; ``oracle``: tokens and money count too."""
        budget, checks = self.budget, [("hours", self.hours, self.budget.hours, "hours of work")]
        if oracle:
            checks += [("tokens", self.tokens, budget.tokens, "tokens"), ("money", self.money, budget.money, "money")]
        for key, spent, most, word in checks:
            if most is not None and spent >= most:
                cure = f"Everything so far is kept. Go on with more: charter resume RUN --set budget.{key}=N"
                return BudgetError(f"the budget is spent: {spent:.6g} of {most:g} {word}", cure)
        return None


def _event_time(event: Event) -> datetime:
    return datetime.fromisoformat(event["at"])
