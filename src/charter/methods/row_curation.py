"""Curation of a training set, where the spec asks for it. A part of methods, between verification and tuning."""

from __future__ import annotations

from collections.abc import Sequence

from charter.data.curation.curation_records import FilterResult
from charter.methods.inputs import Inputs
from charter.ports import Roles
from charter.records.chat import Prompt
from charter.records.training_rows import Example, PreferencePair, TrainingRow
from charter.records.verdicts import Verdict
from charter.runs import Steps
from charter.stages.curate import (
    build_data_card,
    filter_training_rows,
    keep_pairs,
    keep_prompts,
    keep_rows,
    targets_to_exchanges,
)
from charter.stages.judge import judge


def curate_rows(run: Steps, rows: Sequence[Example], roles: Roles, inputs: Inputs) -> Sequence[Example]:
    """The rows to tune on. Leaves ``filter_results`` (what became of each row), ``data_card`` and ``curated``."""
    results = filter_rows(run, rows, roles, inputs)
    return rows if results is None else run.once("curated", keep_rows, rows, results)


def curate_pairs(run: Steps, pairs: Sequence[PreferencePair], roles: Roles, inputs: Inputs) -> Sequence[PreferencePair]:
    """The pairs to learn from, in the same steps: what leaves out prompt and chosen answer leaves out the pair."""
    results = filter_rows(run, pairs, roles, inputs)
    return pairs if results is None else run.once("curated", keep_pairs, pairs, results)


def curate_prompts(run: Steps, prompts: Sequence[Prompt], roles: Roles, inputs: Inputs) -> Sequence[Prompt]:
    """The prompts to practise on, in the same steps."""
    results = filter_rows(run, prompts, roles, inputs)
    return prompts if results is None else run.once("curated", keep_prompts, prompts, results)


def filter_rows(run: Steps, rows: Sequence[TrainingRow], roles: Roles, inputs: Inputs) -> list[FilterResult] | None:
    """What becomes of each row, with the card; None where nothing is filtered."""
    setup, options = inputs.curation, inputs.options.curate
    if setup is None or not rows:
        return None
    target_verdicts: Sequence[Verdict] = ()
    if options.rejudge:
        target_verdicts = run.map(
            "target_verdicts", judge, targets_to_exchanges(rows), roles.judge, *inputs.judge_arguments()
        )
    filter_results = run.once("filter_results", filter_training_rows, rows, target_verdicts, setup, options)
    run.once("data_card", build_data_card, filter_results, setup, options)
    return filter_results
