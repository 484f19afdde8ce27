"""Going on from a finished run: a new one with its policy, its rules and rows, and with what people decided since."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from charter.constitution import document as articles
from charter.constitution.run_state import RunState
from charter.errors import SpecError, StoreError
from charter.records.chat import Prompt
from charter.records.record import Step
from charter.runs import store
from charter.spec import ContinueFrom, chain_spec

if TYPE_CHECKING:
    from charter.runs.reader import RunReader


def load_final_state(reading: RunReader, head: str) -> RunState:
    """What a finished run left; ``head``: the one that it must have. Raises StoreError."""
    left = reading.records("final/handover", RunState)
    if reading.head is None or not left:
        raise StoreError(f"{reading.directory} left nothing to go on from", "Finish it first: charter resume")
    _require_same_run(reading, head)
    return left[0]


def _require_same_run(reading: RunReader, head: str) -> None:
    """Raises StoreError where a run is not the one that was asked for."""
    if head and head not in (reading.head, store.records_hash(reading.events)):
        what = f"{reading.directory} is not the run that was asked for: its HEAD is {reading.head}"
        raise StoreError(what, "See continue_from.head.")


def inherit_prompts(asked: ContinueFrom, *, step: Step) -> list[Prompt]:
    """The prompts that a run of ``self_instruct`` wrote. Raises StoreError."""
    from charter.runs.reader import RunReader

    assert step.directory is not None
    reading = RunReader(step.directory.parents[1] / asked.run)
    if reading.head is None or reading.spec.method != chain_spec.PROMPT_METHOD:
        what = f"{reading.directory} is no finished run of {chain_spec.PROMPT_METHOD}"
        raise StoreError(what, "Finish it first: charter resume; or leave continue_from.inherit out.")
    _require_same_run(reading, asked.head)
    return list(reading.records("000/prompts", Prompt))


def inherit_state(asked: ContinueFrom, base_digest: str, *, step: Step) -> RunState:
    """What the old run left, with its policy's files copied into the step, and its constitution as people amended it.
    Raises StoreError, SpecError."""
    from charter.runs.reader import RunReader

    assert step.directory is not None
    old = step.directory.parents[1] / asked.run  # an absolute path stays as it is
    reading = RunReader(old)
    given, notes = load_final_state(reading, asked.head), {}
    if given.policy.base_digest != base_digest:
        raise SpecError(f"{old} was made from another base than target.model", cure="Name the same target.")
    if asked.constitution:
        after = articles.read_constitution(Path(asked.constitution))
    else:
        after = reading.constitution
        notes = {e["fields"].get("principle", ""): e["fields"].get("note", "") for e in reading.human_decisions}
    constitution = articles.amend_by_people(given.constitution, after, notes)
    policy = given.policy
    if policy.adapter is not None and not Path(policy.adapter).is_absolute():
        shutil.copytree(old / policy.adapter, step.directory, dirs_exist_ok=True)
        policy = policy.under(step.path)
    return given.model_copy(update={"policy": policy, "constitution": constitution})
