"""Curation of a training set, where the spec asks for it. A part of methods, between verification and tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from charter.data.curation.curation_records import FilterResult
from charter.judging.rubrics import Rubric
from charter.ports import Roles
from charter.records.chat import Prompt
from charter.records.training_rows import Example, PreferencePair, TrainingRow
from charter.records.verdicts import Verdict
from charter.run import Steps
from charter.spec import MethodOptions
from charter.stages.curate import (
    CurationSetup,
    build_data_card,
    filter_training_rows,
    keep_pairs,
    keep_prompts,
    keep_rows,
    targets_to_exchanges,
)
from charter.stages.judge import judge
from charter.templates import Templates


class CurationInputs(Protocol):
    """What a method is given."""

    @property
    def options(self) -> MethodOptions:
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
    def sifting(self) -> CurationSetup | None:
        """What rows are sifted with; None where nothing is."""
        ...


def curate_rows(run: Steps, rows: Sequence[Example], roles: Roles, task: CurationInputs) -> Sequence[Example]:
    """The rows to tune on. Leaves ``fates`` (what became of each row), ``data_card`` and ``curated``."""
    found = filter_rows(run, rows, roles, task)
    return rows if found is None else run.once("curated", keep_rows, rows, found)


def curate_pairs(
    run: Steps, pairs: Sequence[PreferencePair], roles: Roles, task: CurationInputs
) -> Sequence[PreferencePair]:
    """The pairs to learn from, in the same steps: what leaves out prompt and chosen answer leaves out the pair."""
    found = filter_rows(run, pairs, roles, task)
    return pairs if found is None else run.once("curated", keep_pairs, pairs, found)


def curate_prompts(run: Steps, prompts: Sequence[Prompt], roles: Roles, task: CurationInputs) -> Sequence[Prompt]:
    """The prompts to practise on, in the same steps."""
    found = filter_rows(run, prompts, roles, task)
    return prompts if found is None else run.once("curated", keep_prompts, prompts, found)


def filter_rows(
    run: Steps, rows: Sequence[TrainingRow], roles: Roles, task: CurationInputs
) -> list[FilterResult] | None:
    """What becomes of each row, with the card; None where nothing is sifted."""
    sifting, options = task.sifting, task.options.curate
    if sifting is None or not rows:
        return None
    verdicts = list[Verdict]()
    if options.rejudge:
        asked = targets_to_exchanges(rows)
        judging = (task.rubric, task.templates, task.options.judge)
        verdicts = run.map("target_verdicts", judge, asked, roles.judge, *judging)
    found = run.once("fates", filter_training_rows, rows, verdicts, sifting, options)
    run.once("data_card", build_data_card, found, sifting, options)
    return found
