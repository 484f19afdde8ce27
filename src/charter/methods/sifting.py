"""Curation of a training set, where the spec asks for it. A part of methods, between verification and tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from charter.curation.records import Sifted
from charter.judging.rubrics import Rubric
from charter.nouns import Example, Preferred, Prompt, Row, Verdict
from charter.ports import Roles
from charter.run import Steps
from charter.spec import Options
from charter.stages.curate import Sifting, card, curated, curated_pairs, curated_prompts, sift, targets
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
    """The rows to tune on. Leaves ``fates`` (what became of each row), ``data_card`` and ``curated``."""
    found = fates(run, rows, roles, task)
    return rows if found is None else run.once("curated", curated, rows, found)


def sifted_pairs(run: Steps, pairs: Sequence[Preferred], roles: Roles, task: Task) -> Sequence[Preferred]:
    """The pairs to learn from, in the same steps: what leaves out prompt and chosen answer leaves out the pair."""
    found = fates(run, pairs, roles, task)
    return pairs if found is None else run.once("curated", curated_pairs, pairs, found)


def sifted_prompts(run: Steps, prompts: Sequence[Prompt], roles: Roles, task: Task) -> Sequence[Prompt]:
    """The prompts to practise on, in the same steps."""
    found = fates(run, prompts, roles, task)
    return prompts if found is None else run.once("curated", curated_prompts, prompts, found)


def fates(run: Steps, rows: Sequence[Row], roles: Roles, task: Task) -> list[Sifted] | None:
    """What becomes of each row, with the card; None where nothing is sifted."""
    sifting, options = task.sifting, task.options.curate
    if sifting is None or not rows:
        return None
    verdicts = list[Verdict]()
    if options.rejudge:
        asked = targets(rows)
        judging = (task.rubric, task.templates, task.options.judge)
        verdicts = run.map("target_verdicts", judge, asked, roles.judge, *judging)
    found = run.once("fates", sift, rows, verdicts, sifting, options)
    run.once("data_card", card, found, sifting, options)
    return found
