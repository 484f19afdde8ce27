"""From what a user names (a spec file, a shipped recipe, a folder) to a run that is taken to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from charter import spec as specs
from charter.errors import StoreError
from charter.jobs.launch import launch_run, resume_run
from charter.reports.chain import is_chain, is_complete, read_chain_spec
from charter.runs import store
from charter.runs.reader import RunReader

if TYPE_CHECKING:
    from charter.runs import Observer


def read_spec_text(spec: str, changes: Mapping[str, str]) -> str:
    """The text of a spec file or a shipped recipe, with changes, validated. Raises SpecError."""
    shipped = specs.list_recipes()
    path = shipped[spec] if spec in shipped and not Path(spec).is_file() else Path(spec)
    return specs.change_spec(specs.read_spec(path)[1], changes, spec)


def new_run_dir(name: str) -> Path:
    """A folder that is not there yet, by date and name."""
    stem, number = f"{datetime.now(UTC):%Y-%m-%d}-{name}", 1
    while (found := Path("runs") / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return found


def begin_or_resume(
    text: str, directory: Path, observer: Observer | None = None, tell: Callable[[str], None] | None = None
) -> None:
    """Begins a run, or goes on with the one of the same spec that is there. Raises StoreError where it is another."""
    chain = is_chain(directory)
    if not (directory / store.JOURNAL).exists() and not chain:
        launch_run(text, directory, observer, tell)
        return
    before = specs.parse_spec(read_chain_spec(directory)) if chain else RunReader(directory).spec
    if specs.parse_spec(text) != before:
        cure = "Choose another folder with --out, or start from a step of this run: charter fork"
        raise StoreError(f"{directory} holds a run of another spec", cure)
    if not (is_complete(directory) if chain else RunReader(directory).head):
        if tell is not None:
            tell(f"{directory} is not finished: it goes on")
        resume_run(directory, observer, tell=tell)
