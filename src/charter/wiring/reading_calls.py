"""How many calls a judge's verdicts take, by how it is read."""

from __future__ import annotations

from dataclasses import dataclass

from charter.judging.label_reading import EMPTY_TEXTS, MENU_ORDERS
from charter.spec import JudgingSpec, OracleSpec


@dataclass(frozen=True)
class ReadingCalls:
    """Calls of one verdict, ``each``; and those that a step makes ``once``, as soon as it judges anything."""

    each: int
    once: int = 0

    def count(self, verdicts: int, steps: int = 1) -> int:
        """Calls of so many verdicts in so many steps, at most."""
        return verdicts * self.each + self.once * min(steps, verdicts)


def plan_reading(asked: OracleSpec, judging: JudgingSpec, rubric: str, in_words: int = 1) -> ReadingCalls:
    """What a verdict of ``asked`` by the rubric takes: one call of a classifier. By labels one for each order of the
    menu, and as many for each exchange without content; a call weighs all labels. Else ``in_words`` calls."""
    if any(rubric in each.rubrics for each in asked.classifiers):
        return ReadingCalls(1)
    if judging.read == "label":
        return ReadingCalls(len(MENU_ORDERS), len(MENU_ORDERS) * len(EMPTY_TEXTS))
    return ReadingCalls(in_words)
