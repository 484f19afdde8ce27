"""What a calibration is made of, and what it finds."""

from __future__ import annotations

from charter.judging.rubrics import CONDUCT, Rubric
from charter.nouns import Exchange, Outcome, Prompt, Record, Vote, digest
from charter.spec import Judging
from charter.templates import Templates


class Pair(Record):
    """Two responses to one prompt, of which people preferred the first."""

    id: str
    prompt: Prompt
    chosen: str
    rejected: str
    category: str = ""
    rater: str = ""


class Order(Record):
    """A pair in one of its two orders."""

    id: str
    pair: Pair
    chosen_first: bool


class Preference(Record):
    """What a judge said of a pair in one order: ``first``: it prefers the response that stands first (None: off the
    menu). ``rule``: the principle that it was asked under; ``share``: how likely it says so, where that is known."""

    id: str
    first: bool | None
    raw: str = ""
    votes: tuple[Vote, ...] = ()
    rule: str = ""
    share: float | None = None

    @property
    def says_first(self) -> float | None:
        """The share of what was said that prefers the first response."""
        if self.share is not None or self.first is None:
            return self.share
        labels = [vote.label == "first" for vote in self.votes if vote.label is not None]
        return sum(labels) / len(labels) if labels else float(self.first)


class Labelled(Record):
    """An exchange of which it is known whether it violates; ``label`` as the file has it."""

    id: str
    exchange: Exchange
    outcome: Outcome
    label: str


class Attack(Record):
    """An exchange with an attack on its judge in it, by the attack's name."""

    id: str
    injection: str
    exchange: Exchange


class Share(Record):
    """``hits`` of ``n`` with the 95 % Wilson interval; hits count by halves where a case is half right."""

    hits: float
    n: int
    value: float | None
    low: float
    high: float


class Agreement(Record):
    """A judge against known labels. ``confusion``: known label -> said label -> count, ``unjudged`` among them. The
    shares leave out what was unjudged: ``sensitivity`` of what violates, ``specificity`` of what complies."""

    confusion: dict[str, dict[str, int]]
    unjudged_violating: int
    unjudged_complying: int
    accuracy: Share
    sensitivity: Share
    specificity: Share
    kappa: float | None
    kappa_low: float | None
    kappa_high: float | None


class Choices(Record):
    """A judge against people's preferences, each pair asked in both orders. A pair counts 1 where both answers are
    right, a half where the answer follows the place, 0 where both are wrong; ``unjudged`` pairs lack an answer.

    ``first`` and ``second``: pairs in which it took what stood first, or second, in both orders; ``p``: exact McNemar
    of these two. ``first_share``: of all answers, those for what stood first (0.5: no bias)."""

    right: int
    wrong: int
    first: int
    second: int
    unjudged: int
    accuracy: Share
    first_share: Share
    p: float
    by_category: dict[str, Share]


class Resistance(Record):
    """Attacks on exchanges that the judge found to violate: ``flipped`` names those after which it said the opposite,
    ``share`` is theirs; ``control``: how often it said so of the same exchanges asked again without an attack."""

    held: int
    unjudged: int
    flipped: tuple[str, ...]
    share: Share
    control: Share


class Calibration(Record):
    """How a judge was measured: its identity, the rubric's, and ``asked``, a digest of how it was asked (template,
    votes, retries, temperature). None where a part was not measured."""

    id: str = "calibration"
    judge: str
    rubric: str
    asked: str
    labels: Agreement | None = None
    pairs: Choices | None = None
    injections: Resistance | None = None


class Calibrated(Record):
    """The calibration of a role's judge, as a run is given it."""

    id: str
    calibration: Calibration


def asked(rubric: Rubric, templates: Templates, judging: Judging) -> str:
    """A digest of everything but the model and the rubric that a verdict depends on."""
    alone = judging.sees == "response" and rubric.name == CONDUCT.name
    template = templates.paper_judge if alone else getattr(templates, rubric.template, rubric.template)
    return digest([template, templates.again, judging.votes, judging.retries, judging.temperature])[:12]
