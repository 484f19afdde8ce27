"""Evaluate: a model put to the benchmarks that a spec names, and nothing else. It aligns nothing, so that a target that
is only reached by HTTP will do; what it cannot take is said."""

from __future__ import annotations

from charter.methods.exams import examine
from charter.nouns import ModelRef, Sampling
from charter.ports import Examiners, LeftOut
from charter.run import Run


def evaluate(run: Run, given: Examiners, models: tuple[ModelRef, ModelRef], answers: Sampling) -> list[LeftOut]:
    """Measures the first of ``models``; the second is the starting model that it may be compared with."""
    policy, start = models
    return examine(run.steps("000"), policy, start, given, answers)
