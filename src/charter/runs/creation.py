"""How a run begins: from nothing, or with the sealed steps of another one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

from charter.errors import StoreError
from charter.runs import store


@contextmanager
def create_run_dir(
    directory: Path, spec_text: str, seed: int, environment: Mapping[str, Any]
) -> Iterator[tuple[Path, store.Journal]]:
    """Builds a run beside its place, then moves it there whole: a kill leaves a run or none. Raises StoreError."""
    with store.translate_os_errors(directory, "made"):
        if (directory / store.JOURNAL).exists():
            raise StoreError(f"{directory} holds a run already", "Go on with it: charter resume; see it: charter show")
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise StoreError(f"{directory} is not an empty folder", "Choose another one.")
        new = directory.with_name(f".{directory.name}.new")
        if new.exists():
            shutil.rmtree(new)
        new.mkdir(parents=True)
    spec = spec_text.encode()
    asked = json.dumps(environment, indent=2, sort_keys=True).encode() + b"\n"
    store.write_atomic(new / store.SPEC, spec)
    store.write_atomic(new / store.ENVIRONMENT, asked)
    journal = store.Journal(new)
    try:
        journal.append("created", seed=seed, spec=store.sha256(spec), environment=store.sha256(asked))
        yield new, journal
    finally:
        journal.close()
    with store.translate_os_errors(directory, "made"):
        new.replace(directory)
        store.sync_to_disk(directory.parent)


def sealed_steps_before(events: Sequence[store.Event], at: str | None) -> list[str]:
    """The sealed steps before ``at`` (a step, or a folder: its first step; None: all). Raises StoreError."""
    order = list(dict.fromkeys(e["step"] for e in events if e["event"] in ("opened", "sealed")))
    if at is not None and not any(_is_within(step, at) for step in order):
        raise StoreError(f"the run has no step {at}", f"It has: {', '.join(order) or 'none yet'}")
    sealed = store.seal_digests(events)
    return [step for step in takewhile(lambda step: at is None or not _is_within(step, at), order) if step in sealed]


def copy_step(source: Path, target: Path, sealed: store.Event, journal: store.Journal) -> None:
    """Copies a sealed step, checked, into a new run; ``sealed``: what its journal says of it. Raises DamagedError."""
    step, form = sealed["step"], {key: sealed[key] for key in ("seal", "parquet") if key in sealed}
    seal, faults = store.find_step_faults(source, step, sealed["seal"], sealed.get("parquet"))
    store.raise_first_fault(source, faults)
    assert seal is not None
    records = store.records_path(source, step).relative_to(source).as_posix()
    for name in (records, *(f"{step}/{file}" for file in seal.files), f"{step}.seal.json"):
        store.write_atomic(target / name, source / name)
    journal.append("sealed", step=step, **form)


def _is_within(step: str, at: str) -> bool:
    return step == at or step.startswith(f"{at}/")
