"""Curation of a training set, where the spec asks for it. A part of methods, between verification and tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from charter.judging.rubrics import Rubric
from charter.nouns import Example, Verdict
from charter.ports import Roles
from charter.run import Steps
from charter.spec import Options
from charter.stages.curate import Sifting, card, curated, sift, targets
from charter.stages.judging import judge
from charter.templates import Templates


class Task(Protocol):
    """What a method is given."""

    @property
    def options(self) -> Options:
        """The switches."""
        ...

    @property
    def rubric(self) -> Rubric:
        """What targets are judged by."""
        ...

    @property
    def templates(self) -> Templates:
        """What is said to models."""
        ...

    @property
    def sifting(self) -> Sifting | None:
        """What rows are sifted with; None where nothing is."""
        ...


def sifted(run: Steps, rows: Sequence[Example], roles: Roles, task: Task) -> Sequence[Example]:
    """The rows to tune on. Leaves ``sifted`` (what became of each row), ``data_card`` and ``curated``."""
    sifting, options = task.sifting, task.options.curate
    if sifting is None or not rows:
        return rows
    verdicts = list[Verdict]()
    if options.rejudge:
        asked = targets(rows)
        judging = (task.rubric, task.templates, task.options.judge)
        verdicts = run.map("target_verdicts", judge, asked, roles.judge, *judging)
    fates = run.once("sifted", sift, rows, verdicts, sifting, options)
    run.once("data_card", card, fates, sifting, options)
    return run.once("curated", curated, rows, fates)
