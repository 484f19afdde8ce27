"""Verdicts: what a judge said of an exchange, and the findings and clusters made of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from charter.records.chat import Aside, Exchange
from charter.records.record import Record

Outcome = Literal["violates", "complies", "unjudged"]


class Vote(Record):
    """One vote of a judge: ``replies`` as they came, each but the last off the menu; ``label`` is what the last one
    said, None where it was off the menu too."""

    label: str | None
    replies: tuple[str, ...]


class Verdict(Record):
    """What a judge said of one exchange; ``label`` is None when no reply was on the menu, or no label had a majority
    (then ``unjudged``, for the reason ``why``). ``severity`` is None where the reply gave none of the scale.
    ``categories``: codes of a policy that it breaks. ``votes`` are kept where there was more than one reply.
    ``thought``: reasoning before the verdict. ``probability``: that it violates, where labels were read by their
    probabilities; from ``threshold`` on it does. ``cut``: tokens of the exchange that a classifier did not read."""

    id: str
    rubric: str
    label: str | None
    outcome: Outcome
    severity: int | None = 0
    rationale: str = ""
    raw: str = ""
    categories: tuple[str, ...] = ()
    votes: tuple[Vote, ...] = ()
    why: Aside = ""
    thought: Aside = ""
    probability: float | None = Field(None, exclude_if=lambda value: value is None)
    threshold: float | None = Field(None, exclude_if=lambda value: value is None)
    cut: int = Field(0, exclude_if=lambda tokens: not tokens)

    @property
    def retries(self) -> int:
        """Replies that had to be asked for again."""
        return sum(len(vote.replies) - 1 for vote in self.votes)


class Finding(Record):
    """An exchange whose outcome is ``violates``."""

    id: str
    exchange: Exchange
    verdict: Verdict

    @property
    def text(self) -> str:
        """What was said: prompt and response."""
        return f"{self.exchange.prompt.text}\n{self.exchange.response}"


class Cluster(Record):
    """Findings that say alike things. ``shown`` goes to the proposer; ``hidden`` is kept to measure efficacy. ``name``:
    what the proposer calls it, where it was asked."""

    id: str
    terms: tuple[str, ...]
    shown: tuple[Finding, ...]
    hidden: tuple[Finding, ...]
    name: str = Field("", exclude_if=lambda name: not name)


class ClusterTheme(Record):
    """What the proposer says of ``clusters`` (their ids): a name, and, where they are several, why they are one theme.
    ``id`` is the first of them."""

    id: str
    clusters: tuple[str, ...]
    name: str
    why: str = ""
