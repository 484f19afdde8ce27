"""What the classes of a sequence classifier mean under a rubric, and the shares of the rubric's labels.

Classes exclude one another (softmax), hold by themselves (sigmoid), or are one score, as a reward model gives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from charter.errors import SpecError
from charter.judging.rubrics import Rubric

ClassKind = Literal["exclusive", "independent", "score"]
"""How the classes of a model hang together."""
SIDES = ("high", "low")
"""The two classes that a score is made into."""
SCORE_UNIT = 4.0
"""A score is divided by this before it becomes a share. Reward models give up to some tens, where a share of 6 decimals
would be 0 or 1; and a calibration learns the threshold anyway."""


@dataclass(frozen=True)
class ClassMeaning:
    """For each class, in the order of the outputs (``high`` and ``low`` for a score), the label of ``rubric``."""

    rubric: Rubric
    kind: ClassKind
    labels: tuple[str, ...]

    @property
    def told(self) -> tuple[str, ...]:
        """The labels that it tells apart, in the order of the rubric's menu."""
        known = {*self.labels, self._rest} if self.kind == "independent" else {*self.labels}
        return tuple(label for label in self.rubric.menu if label in known)

    @property
    def _rest(self) -> str:
        """The label of an exchange to which no class applies."""
        return next(x for x in self.rubric.menu if self.rubric.outcomes[x] == "complies")

    def share_labels(self, outputs: Sequence[float]) -> dict[str, float]:
        """The share of each label that is told apart, together 1. ``outputs``: the model's numbers for one exchange."""
        shares = dict.fromkeys(self.told, 0.0)
        if self.kind == "exclusive":
            highest = max(outputs)
            weights = [math.exp(value - highest) for value in outputs]
            for label, weight in zip(self.labels, weights, strict=True):
                shares[label] += weight / math.fsum(weights)
        elif self.kind == "score":
            high = _sigmoid(outputs[0] / SCORE_UNIT)
            for label, share in zip(self.labels, (high, 1 - high), strict=True):
                shares[label] += share
        else:
            self._share_independent(outputs, shares)
        return shares

    def _share_independent(self, outputs: Sequence[float], shares: dict[str, float]) -> None:
        """The likeliest violating class says how much violates, and its kin divide that; what is left complies."""
        likeliest: dict[str, float] = {}
        for label, value in zip(self.labels, outputs, strict=True):
            if self.rubric.outcomes[label] == "violates":
                likeliest[label] = max(likeliest.get(label, 0.0), _sigmoid(value))
        whole, violating = math.fsum(likeliest.values()), max(likeliest.values())
        for label, share in likeliest.items():
            shares[label] = violating * share / whole if whole else 0.0
        shares[self._rest] += 1 - violating


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def read_meaning(
    model: str, classes: Sequence[str], kind: ClassKind, given: Mapping[str, str], rubric: Rubric
) -> ClassMeaning:
    """What ``given`` says of every class of ``model``. Raises SpecError with the classes that the model has."""
    names = SIDES if kind == "score" else tuple(classes)
    faults = [f"{name}: the model has no such class" for name in given if name not in names]
    faults += [f"{name}: has no label" for name in names if name not in given]
    faults += [
        f"{name}: {label} is no label of the rubric {rubric.name} ({', '.join(rubric.menu)})"
        for name, label in given.items()
        if label not in rubric.menu
    ]
    outcomes = {rubric.outcomes[label] for label in given.values() if label in rubric.menu}
    if kind == "independent":
        outcomes.add("complies")  # what no class applies to
    faults += [
        f"no class means that an exchange {o}" for o in ("violates", "complies") if not faults and o not in outcomes
    ]
    if faults:
        known = (
            "it gives one score; its classes are high and low"
            if kind == "score"
            else f"its classes: {', '.join(names)}"
        )
        raise SpecError(
            f"the classes of {model} do not fit the rubric {rubric.name}; {known}",
            tuple(faults),
            f"Write for every class a label: rubrics: {{{rubric.name}: {{{', '.join(f'{x}: LABEL' for x in names)}}}}}",
        )
    return ClassMeaning(rubric, kind, tuple(given[name] for name in names))
