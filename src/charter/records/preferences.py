"""What learning from preferences finds: pairs and their places, a reward model, and a policy in training."""

from __future__ import annotations

from charter.records.chat import Aside, Prompt
from charter.records.measurements import Proportion
from charter.records.record import Record
from charter.records.verdicts import Vote


class PositionBias(Record):
    """What was compared: pairs that both orders agree on, that followed the place (``first``, ``second``), and that
    lack an answer. ``first_share``: of all answers, those for what stood first (0.5: no bias); ``p``: exact McNemar of
    the two places."""

    id: str = "position"
    agreed: int
    first: int
    second: int
    unjudged: int
    first_share: Proportion
    p: float


class RaterSummary(Record):
    """What people said: ``read`` ratings by so many ``known`` raters; of the pairs so many were rated more than once
    (``shared``), and so many dropped as ties (``tied``). ``agreement``: of all two ratings of the same pair, the share
    that prefer the same answer (who tosses a coin: a half)."""

    id: str = "raters"
    read: int
    known: int
    shared: int
    tied: int
    agreement: float | None


class PairSummary(Record):
    """What became of the pairs, each once whoever rated it, and without ties: near to gate or held-out, repeated, or
    left out for their length; how many are learnt from, and how many only check. ``longer``: share of all kept whose
    chosen answer is the longer one; ``people``: who preferred, where people did."""

    id: str = "pair_summary"
    read: int
    protected: int
    repeated: int
    unbalanced: int
    train_pairs: int
    validation_pairs: int
    longer: float | None
    people: RaterSummary | None = None


class RewardModelFit(Record):
    """A reward model on pairs that it has not learnt from. ``error``: expected calibration error of what it says of the
    answer that it prefers, over equal bins; ``length``: Pearson correlation of reward and words of an answer."""

    id: str = "fit"
    accuracy: Proportion
    margin: float | None
    calibration_error: float | None
    length_correlation: float | None


class PolicyStats(Record):
    """A policy in training, beside the start's. ``kl``: mean nats of an answer that it draws, against the start;
    ``chosen`` and ``rejected``: mean log-probability of the check pairs' answers, ``margin`` their difference;
    ``length``: mean words of gate answers; ``refusals``: share of them that refuse; ``good``: share of them that is
    good in all that was measured; ``reward``: mean of the learnt reward. None where there is nothing to tell."""

    id: str = "policy_stats"
    kl: float | None = None
    chosen: float | None = None
    rejected: float | None = None
    margin: float | None = None
    length: float
    refusals: float | None = None
    good: float
    reward: float | None = None


class GateAnswer(Record):
    """A gate answer: whether it is good in all that was measured (None: not judged), and what the reward says."""

    id: str
    good: bool | None
    reward: float | None
    words: int


class ResponsePair(Record):
    """Two responses to one prompt, of which people preferred the first."""

    id: str
    prompt: Prompt
    chosen: str
    rejected: str
    category: str = ""
    rater: str = ""


class OrderedPair(Record):
    """A pair in one of its two orders."""

    id: str
    pair: ResponsePair
    chosen_first: bool


class PairVerdict(Record):
    """What a judge said of a pair in one order: ``first``: it prefers the response that stands first (None: off the
    menu, for the reason ``why``). ``rule``: the principle that it was asked under; ``share``: how likely it says so,
    where that is known."""

    id: str
    first: bool | None
    raw: str = ""
    votes: tuple[Vote, ...] = ()
    rule: str = ""
    share: float | None = None
    why: Aside = ""

    @property
    def says_first(self) -> float | None:
        """The share of what was said that prefers the first response."""
        if self.share is not None or self.first is None:
            return self.share
        labels = [vote.label == "first" for vote in self.votes if vote.label is not None]
        return sum(labels) / len(labels) if labels else float(self.first)


class ExchangeReward(Record):
    """What an exchange is worth; None where that could not be told. Only differences mean anything."""

    id: str
    value: float | None
