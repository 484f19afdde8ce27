"""Going on from a finished run: a new one with its policy, its rules and rows, and with what people decided since."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from charter import constitution as articles
from charter import spec as specs
from charter import store
from charter.errors import SpecError, StoreError
from charter.handover import Handover
from charter.nouns import Prompt, Step
from charter.spec import GoOn, chaining
from charter.wiring.assembly import Assembly
from charter.wiring.launching import begun

if TYPE_CHECKING:
    from charter.reports.reading import Reading


def go_on(old: Path, new: Path, spec_text: str, constitution: Path | None = None) -> None:
    """Makes the run ``new``, which goes on from the finished run ``old``; it needs ``old`` no more. `resume` does the
    work. Raises StoreError, SpecError."""
    from charter.reports.reading import Reading

    head = Reading(old).head
    if head is None:
        raise StoreError(f"{old} is not finished", "Finish it: charter resume; or fork from a step: --at")
    if constitution is not None:
        articles.read(constitution)
    value = yaml.safe_load(spec_text)
    amended = str(constitution.resolve()) if constitution is not None else ""
    found = {"run": str(old.resolve()), "head": head, "constitution": amended}
    value["go_on"] = found | chaining.takes(Reading(old).spec.method)
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    specs.parse(text)
    with begun(text, new) as (assembly, run):
        assert isinstance(assembly, Assembly)
        assembly.inherit(run)


def left_by(reading: Reading, head: str) -> Handover:
    """What a finished run left; ``head``: the one that it must have. Raises StoreError."""
    left = reading.records("final/handover", Handover)
    if reading.head is None or not left:
        raise StoreError(f"{reading.directory} left nothing to go on from", "Finish it first: charter resume")
    _same(reading, head)
    return left[0]


def _same(reading: Reading, head: str) -> None:
    """Raises StoreError where a run is not the one that was asked for."""
    if head and head not in (reading.head, store.records_hash(reading.events)):
        what = f"{reading.directory} is not the run that was asked for: its HEAD is {reading.head}"
        raise StoreError(what, "See go_on.head.")


def take_prompts(asked: GoOn, *, step: Step) -> list[Prompt]:
    """The prompts that a run of ``self_instruct`` wrote. Raises StoreError."""
    from charter.reports.reading import Reading

    assert step.directory is not None
    reading = Reading(step.directory.parents[1] / asked.run)
    if reading.head is None or reading.spec.method != chaining.FIRST:
        what = f"{reading.directory} is no finished run of {chaining.FIRST}"
        raise StoreError(what, "Finish it first: charter resume; or leave go_on.takes out.")
    _same(reading, asked.head)
    return reading.records("000/prompts", Prompt)


def take_over(asked: GoOn, base_digest: str, *, step: Step) -> Handover:
    """What the old run left, with its policy's files copied into the step, and its constitution as people amended it.
    Raises StoreError, SpecError."""
    from charter.reports.reading import Reading

    assert step.directory is not None
    old = step.directory.parents[1] / asked.run  # an absolute path stays as it is
    reading = Reading(old)
    given, notes = left_by(reading, asked.head), {}
    if given.policy.base_digest != base_digest:
        raise SpecError(f"{old} was made from another base than target.model", cure="Name the same target.")
    if asked.constitution:
        after = articles.read(Path(asked.constitution))
    else:
        after = reading.constitution
        notes = {e["fields"].get("principle", ""): e["fields"].get("note", "") for e in reading.human}
    constitution = articles.amended_by_people(given.constitution, after, notes)
    policy = given.policy
    if policy.adapter is not None and not Path(policy.adapter).is_absolute():
        shutil.copytree(old / policy.adapter, step.directory, dirs_exist_ok=True)
        policy = policy.model_copy(update={"adapter": step.path})
    return given.model_copy(update={"policy": policy, "constitution": constitution})
