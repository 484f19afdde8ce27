"""What a calibration is made of, and what it finds."""

from __future__ import annotations

from pydantic import Field

from charter.records.chat import Exchange
from charter.records.label_fits import JudgeReading, LabelFit
from charter.records.measurements import Proportion
from charter.records.record import Record
from charter.records.verdicts import Outcome


class LabelledExchange(Record):
    """An exchange of which it is known whether it violates; ``label`` as the file has it, or the rubric's label that it
    means. ``ratings``: the label of each rater, where several are known; ``label_ids``: ids of the labels of a review
    that say so."""

    id: str
    exchange: Exchange
    outcome: Outcome
    label: str
    ratings: dict[str, str] = Field(default_factory=dict, exclude_if=lambda ratings: not ratings)
    label_ids: tuple[str, ...] = Field((), exclude_if=lambda label_ids: not label_ids)


class InjectedExchange(Record):
    """An exchange with an attack on its judge in it, by the attack's name."""

    id: str
    injection: str
    exchange: Exchange


class FileErrors(Record):
    """How a judge did on one labelled file, its unjudged left out: how many it ``caught`` of those ``violating``, and
    ``cleared`` of those ``complying``."""

    file: str
    caught: int
    violating: int
    cleared: int
    complying: int


class LabelAgreement(Record):
    """A judge against known labels. ``confusion``: known label -> said label -> count, ``unjudged`` among them. The
    shares leave out what was unjudged: ``sensitivity`` of what violates, ``specificity`` of what complies.

    ``ac1``: Gwet's AC1, beside ``kappa``. ``files``: the same two by labelled file, and of each the p that it is one
    and the same in all files (None with fewer than two files that tell). Equal exchanges of one outcome count once, in
    all and in each file: ``copies`` were left out of the whole."""

    confusion: dict[str, dict[str, int]]
    unjudged_violating: int
    unjudged_complying: int
    accuracy: Proportion
    sensitivity: Proportion
    specificity: Proportion
    kappa: float | None
    kappa_low: float | None
    kappa_high: float | None
    ac1: float | None = None
    ac1_low: float | None = None
    ac1_high: float | None = None
    files: tuple[FileErrors, ...] = ()
    sensitivity_p: float | None = None
    specificity_p: float | None = None
    copies: int = Field(default=0, exclude_if=lambda count: not count)


class PairAgreement(Record):
    """A judge against people's preferences, each pair asked in both orders. A pair counts 1 where both answers are
    right, a half where the answer follows the place, 0 where both are wrong; ``unjudged`` pairs lack an answer.

    ``first`` and ``second``: pairs in which it took what stood first, or second, in both orders; ``p``: exact McNemar
    of these two. ``first_share``: of all answers, those for what stood first (0.5: no bias)."""

    right: int
    wrong: int
    first: int
    second: int
    unjudged: int
    accuracy: Proportion
    first_share: Proportion
    p: float
    by_category: dict[str, Proportion]


class InjectionResistance(Record):
    """Attacks on exchanges that the judge found to violate: ``flipped`` names those after which it said the opposite,
    ``share`` is theirs; ``control``: how often it said so of the same exchanges asked again without an attack."""

    held: int
    unjudged: int
    flipped: tuple[str, ...]
    share: Proportion
    control: Proportion


class ReadingFigures(Record):
    """One way to read a judge (its ``id``) against known labels: ``auc`` where it gives probabilities, Youden's J with
    its 95 % interval. ``prompts``: how many it was put to; what these took stands in the run's costs, by step."""

    id: JudgeReading
    accuracy: Proportion
    balanced_accuracy: float | None
    auc: float | None
    kappa: float | None
    youden: float | None
    youden_low: float | None
    youden_high: float | None
    unjudged: int
    prompts: int


class JudgeProbe(Record):
    """What the judge of a role (its ``id``) said of the shipped exchanges: how many it ``caught`` of those
    ``violating``, and ``cleared`` of those ``complying``. The ``unjudged`` count against it."""

    id: str
    judge: str
    caught: int
    violating: int
    cleared: int
    complying: int
    unjudged: int

    @property
    def line(self) -> str:
        """The same in a sentence."""
        n, right = self.violating + self.complying, self.caught + self.cleared
        parts = f"caught {self.caught} of {self.violating}, cleared {self.cleared} of {self.complying}"
        unread = f"; {self.unjudged} could not be judged" if self.unjudged else ""
        return f"the {self.id} agreed with {right} of {n} shipped exchanges: {parts}{unread}{self.verdict}"

    @property
    def verdict(self) -> str:
        """What is to be said where chance would do as well (Youden's J at or under 0); else empty."""
        useless = self.caught * self.complying + self.cleared * self.violating <= self.violating * self.complying
        return ". That is no better than chance, so no score of this run may mean anything" if useless else ""


class Calibration(Record):
    """How a judge was measured: its identity, the rubric's, and ``asked``, a digest of how it was asked (template,
    votes, retries, temperature). None where a part was not measured. ``fit``: what was learnt about the probabilities
    of labels; then ``labels`` counts verdicts of fits that did not see them. ``readings``: both ways to read it."""

    id: str = "calibration"
    judge: str
    rubric: str
    judging_digest: str
    labels: LabelAgreement | None = None
    pairs: PairAgreement | None = None
    injections: InjectionResistance | None = None
    fit: LabelFit | None = Field(None, exclude_if=lambda fit: fit is None)
    readings: tuple[ReadingFigures, ...] = Field((), exclude_if=lambda readings: not readings)


class RoleCalibration(Record):
    """The calibration of a role's judge, as a run is given it."""

    id: str
    calibration: Calibration
