"""A chain of runs: its steps in order, and whether each goes on from the one before as it stands."""

from __future__ import annotations

from pathlib import Path

from charter import spec as specs
from charter.reports.integrity import IntegrityReport, verify_run
from charter.runs import Observer, store
from charter.runs.reader import RunReader
from charter.runs.store import Fault


def is_chain(directory: Path) -> bool:
    """Whether a folder holds a chain of runs."""
    return store.is_present(directory, store.SPEC) and not store.is_present(directory, store.JOURNAL)


def read_chain_spec(directory: Path) -> str:
    """The spec of a chain, read without trust as a run's is. Raises StoreError, DamagedError."""
    return store.read_bytes(directory / store.SPEC, directory).decode(errors="replace")


def chain_runs(directory: Path) -> list[Path]:
    """The runs of a chain that have begun, in order; none where the folder holds no chain. Raises SpecError."""
    if not is_chain(directory):
        return []
    steps = [directory / name for name, _ in _split_spec(directory)]
    return [step for step in steps if store.is_present(step, store.JOURNAL)]


def _split_spec(directory: Path) -> list[tuple[str, str]]:
    return specs.split_chain(read_chain_spec(directory), str(directory / store.SPEC))


def is_complete(directory: Path) -> bool:
    """Whether every step of a chain is finished."""
    steps = _split_spec(directory)
    begun = chain_runs(directory)
    return len(begun) == len(steps) and all(RunReader(step).head for step in begun)


def verify_chain(
    directory: Path, expect: str | None = None, strict: bool = False, observer: Observer | None = None
) -> dict[str, IntegrityReport]:
    """Each step verified, ``expect`` on the last, ``strict`` and ``observer`` as for one run. A step that goes on from
    other records than those beside it is damaged."""
    steps, found = chain_runs(directory), {}
    for number, step in enumerate(steps):
        made = verify_run(step, expect if number == len(steps) - 1 else None, strict, observer)
        if made.ok and number and (wrong := _find_gap(steps[number - 1], step)):
            made = made.model_copy(update={"ok": False, "wording": "damaged", "faults": (*made.faults, wrong)})
        found[step.name] = made
    return found


def _find_gap(before: Path, step: Path) -> Fault | None:
    asked, head = RunReader(step).spec.continue_from, store.expected_head(RunReader(before).events)
    if asked is not None and head is not None and asked.head == head.records:
        return None
    return Fault(file=store.SPEC, line=None, what=f"goes on from other records than those of {before.name}")
