"""What every job does, and how the run of a job ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from charter.wiring.targets import SERVER_DIR, TUNING_DIR

if TYPE_CHECKING:
    from charter.runs import Run

SCRATCH_DIRS = (SERVER_DIR, TUNING_DIR)
"""Folders of a run that last while it is at work."""


class Job(Protocol):
    """The live objects of a spec, and what is done with them in a run."""

    def describe(self) -> dict[str, Any]:
        """What the target is, where and how it answers; empty where there is none. Loads no weights."""
        ...

    def forecast(self) -> dict[str, Any]:
        """What a run would ask for. Nothing is asked and no model loads."""
        ...

    def prepare(self) -> Sequence[str]:
        """Finds what a new run needs, before it begins; gives the lines that its user is told. Raises CharterError."""
        ...

    def execute(self, run: Run) -> None:
        """Does the work in a run, publishes its results, and finishes the run. What is sealed already is read."""
        ...


@runtime_checkable
class ProvesJudges(Protocol):
    """A job whose judges are tried before it is executed."""

    def prove_judges(self, run: Run) -> Sequence[str]:
        """Tries the judges, in the run; a line about each for its user. Raises UnsupportedError."""
        ...


def finish_run(run: Run, outcome: Mapping[str, Any], files: Mapping[str, str | bytes | Path]) -> None:
    """Publishes the results of a run and its report page, and finishes it.

    Args:
        run: The run, with all its steps sealed.
        outcome: What became of it, for ``outcome.json``.
        files: Further results by name: their contents, or the file or folder to be copied.
    """
    from charter.reports.page import render_page

    run.publish({**files, "outcome.json": json.dumps(outcome, indent=2, sort_keys=True) + "\n"})
    run.publish({"report.html": render_page(run.directory)}, derived=True)
    run.finish()
    for scratch in SCRATCH_DIRS:
        shutil.rmtree(run.directory / scratch, ignore_errors=True)
