"""What follows an iteration: what gates say of the new policy, what a reader should look at, what is decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from charter.records.record import Record


@dataclass(frozen=True)
class Retries:
    """Whether a policy that fails is rolled back, how often its rows may be tried again, and how often they were."""

    roll_back: bool
    limit: int
    used: int = 0


GateReference = Literal["start", "last"]


class GateCheck(Record):
    """One metric of a new policy on gate, against the starting model or the last accepted policy on the same prompts.

    ``n`` pairs could be judged on both sides, ``unjudged`` not; ``worse`` and ``better`` of them changed. ``change`` is
    signed so that minus is worse. It fails where ``bound``, which the true change exceeds with a chance of ``alpha`` at
    most, lies below minus ``margin``. It could not tell, and fails too, where ``worst`` does: the same bound with
    each good answer that cannot be judged any more counted as worse (None: there is none); and where fewer than half of
    what was judged before still can be. ``detectable``: the smallest true loss at which it fails four times in five,
    with as many gains besides as here (None: none)."""

    id: str
    metric: str
    against: GateReference
    n: int
    unjudged: int
    worse: int
    better: int
    change: float | None
    bound: float
    margin: float
    alpha: float
    detectable: float | None
    passed: bool
    worst: float | None = None

    @property
    def description(self) -> str:
        """What it found, in a clause."""
        whom = "the start" if self.against == "start" else "the last accepted policy"
        if self.change is None or -self.bound <= self.margin:
            told = f"{self.metric}: {self.unjudged} of {self.n + self.unjudged} pairs against {whom} cannot be judged"
            if self.passed or self.worst is None or -self.worst <= self.margin:
                return told
            return f"{told}: could not tell. Were they worse, it lost at least {-self.worst:.1%}"
        return (
            f"{self.metric} is worse by {-self.change:.1%} than {whom} (n {self.n}; at least {-self.bound:.1%} by a "
            f"bound at {self.alpha:.2g}; margin {self.margin:.1%})"
        )


class Alarm(Record):
    """Something that a reader should look at; it stops nothing."""

    id: str
    reason: str
    figures: dict[str, float] = Field(default_factory=dict)


class Decision(Record):
    """What follows an iteration: go on, roll back (and try again), give up (roll back and stop) or stop, with the
    reason and the figures behind it."""

    id: str
    action: Literal["go_on", "roll_back", "give_up", "stop"]
    reason: str
    figures: dict[str, float] = Field(default_factory=dict)
