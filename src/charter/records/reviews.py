"""What people review: a queue, its items, the labels that raters give, and how far the raters agree."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from charter.records.chat import Message
from charter.records.measurements import Proportion
from charter.records.record import Record
from charter.records.rules import Principle
from charter.records.verdicts import Outcome

ReviewKind = Literal["exchanges", "pairs", "revisions", "rules"]
"""What an item is: an exchange to label, two answers to choose from, an answer beside its revision, a rule."""

LabelForm = Literal["label-studio", "argilla", "inspect", "csv"]
"""The programs whose labels are written and read; ``csv``: a table with a row for each label."""

QUEUE_NAME = r"^[a-z0-9][a-z0-9_-]{0,39}$"
QueueName = Annotated[str, Field(pattern=QUEUE_NAME)]

UNSURE = "unsure"
"""What stands for no label where a label is written as a word. No menu may have it."""
CHOICES = {"first": "answer 1 is better", "second": "answer 2 is better", "equal": "neither is better"}
"""The menu of pairs and revisions."""
RULINGS = {"approve": "the rule should hold", "reject": "the rule should not hold"}
"""The menu of rules."""


class ReviewAnswer(Record):
    """An answer that an item holds: its step, its id there, who gave it (a digest), and its text."""

    step: str
    id: str
    model: str
    text: str


class ReviewItem(Record):
    """What one label is about. ``answers``: one of an exchange, two of a pair in the order in which they are shown,
    none of a rule."""

    id: str
    prompt: tuple[Message, ...] = ()
    answers: tuple[ReviewAnswer, ...] = ()
    rule: Principle | None = None


class ReviewQueue(Record):
    """A sample of a run that people review. ``rubric``: name and digest of the rubric, where there is one;
    ``outcomes``: what each label of the menu means under it; ``raters``: how many label each item; ``population``: how
    many the items were drawn from; ``guideline``: SHA-256 of the text that raters go by."""

    id: QueueName
    kind: ReviewKind
    rubric: str = ""
    menu: dict[str, str]
    outcomes: dict[str, Outcome] = Field(default_factory=dict)
    raters: int = Field(ge=1)
    seed: int
    population: int
    guideline: str


class ReviewLabel(Record):
    """What a rater said of an item; ``label`` is None where the rater was unsure. ``corrected``: the answer as it
    should have been, by the rater; ``source``: the file that it was imported from; ``at``: when, ISO 8601. The id is
    the queue and the line of its journal."""

    id: str
    item: str
    rater: str
    role: str = ""
    label: str | None
    comment: str = ""
    corrected: str = ""
    source: str = ""
    at: str


class ItemSettlement(Record):
    """What a named person decided about an item whose raters disagree."""

    id: str
    item: str
    by: str
    role: str = ""
    label: str
    note: str = ""
    at: str


class FinalLabel(Record):
    """What an item is in the end, and the ids of the labels that say so: a settlement, or what most raters say."""

    item: str
    label: str
    by: Literal["raters", "settlement"]
    labels: tuple[str, ...]


class ReviewedItem(Record):
    """An item with what was said of it: the last label of each rater, how it was settled, and what it is in the end."""

    item: ReviewItem
    labels: tuple[ReviewLabel, ...] = ()
    settlement: ItemSettlement | None = None
    final: FinalLabel | None = None


class QueueProgress(Record):
    """How far a queue is: items with all their raters, labels by rater, and what is left to adjudicate. ``tip``: the
    hash of the last line of its journal."""

    queue: ReviewQueue
    items: int
    complete: int
    labels: dict[str, int]
    unsure: int
    skipped: int
    to_adjudicate: tuple[str, ...]
    settled: int
    tip: str


class AgreementFigure(Record):
    """A figure of agreement with its 95 % interval; None where it has no value."""

    value: float | None
    low: float | None
    high: float | None


class RaterPair(Record):
    """Two raters on the ``n`` items that both labelled."""

    raters: tuple[str, str]
    n: int
    agreed: Proportion
    kappa: AgreementFigure
    ac1: AgreementFigure


class RaterAgreement(Record):
    """How far raters agree on the ``n`` items that two or more labelled: the mean share of pairs of raters that agree
    on an item, Gwet's AC1 and Krippendorff's alpha of all raters, and of each two of them Cohen's kappa. ``unsure``:
    answers that are no label and were left out."""

    n: int
    raters: int
    unsure: int
    agreed: AgreementFigure
    ac1: AgreementFigure
    alpha: AgreementFigure
    pairs: tuple[RaterPair, ...]
