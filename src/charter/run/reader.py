"""A run as it stands on disk, finished or not: what every report is made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from charter import spec as specs
from charter.constitution import document as articles
from charter.constitution.document import Constitution
from charter.constitution.run_state import RunState
from charter.errors import DamagedError, StoreError
from charter.records.measurements import Score
from charter.records.record import Record
from charter.records.rules import Amendment, Principle, PrincipleStatus
from charter.records.step_names import is_declared
from charter.run import store

R = TypeVar("R", bound=Record)

_STATUS_BY_DECISION: dict[str, PrincipleStatus] = {"approve": "approved", "reject": "rejected", "retire": "retired"}


class RunReader:
    """Reads, and writes nothing. Raises StoreError where there is no run, DamagedError where a file cannot be read."""

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        if not (self.directory / store.JOURNAL).exists():
            raise StoreError(f"{self.directory} holds no run", "Give a run's folder, or start one: charter run")
        self.events, faults = store.read_journal(store.read_lines(self.directory / store.JOURNAL))
        store.raise_first_fault(self.directory, faults)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.directory.resolve().name

    @cached_property
    def spec(self) -> specs.Spec:
        """What was asked. Raises SpecError."""
        return specs.parse_spec(self.read_text(store.SPEC), str(self.directory / store.SPEC))

    @property
    def verifiable(self) -> bool:
        """Whether the target's weights were at hand, so that a digest says who answered."""
        return not self.spec.target.by_http

    @cached_property
    def outcome(self) -> dict[str, Any]:
        """``outcome.json``; empty while the run is not finished."""
        return self._read_json("outcome.json") if (self.directory / "outcome.json").exists() else {}

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions and machine."""
        return self._read_json(store.ENVIRONMENT)

    @property
    def head(self) -> str | None:
        """The hash over everything; None while the run is not finished."""
        head = store.expected_head(self.events)
        return head.head if head else None

    @cached_property
    def seals(self) -> dict[str, str]:
        """Digest of the seal of each finished step."""
        return store.seal_digests(self.events)

    @cached_property
    def steps(self) -> tuple[str, ...]:
        """Every step that was opened or sealed, in order, e.g. ``001/verdicts``."""
        return tuple(dict.fromkeys(e["step"] for e in self.events if e["event"] in ("opened", "sealed")))

    @property
    def iterations(self) -> tuple[str, ...]:
        """The folders of the iterations begun: ``001``, ``002`` ..."""
        folders = dict.fromkeys(step.split("/")[0] for step in self.steps)
        return tuple(folder for folder in folders if folder.isdigit() and int(folder) > 0)

    @cached_property
    def constitution(self) -> Constitution:
        """The latest one, with what people decided about its rules since."""
        found = {p.id: p for p in self._latest_constitution().principles}
        for event in self.human_decisions:
            fields, key = event["fields"], event["fields"].get("principle")
            if event["decision"] == "add":
                said = {"title": fields.get("title", ""), "text": fields["text"], "by": "people"}
                found[key] = Principle.model_validate({"id": key, "status": "approved", **said})
            elif event["decision"] in _STATUS_BY_DECISION and key in found:
                found[key] = found[key].model_copy(update={"status": _STATUS_BY_DECISION[event["decision"]]})
        return self._latest_constitution().model_copy(update={"principles": tuple(found.values())})

    @cached_property
    def amendments(self) -> tuple[tuple[int, Amendment], ...]:
        """Every change of the constitution, in order, with the version that it made."""
        made: dict[int, tuple[Amendment, ...]] = {}
        for step in self.steps:
            name = step.split("/")[-1]
            found = self.records(step, Constitution) if name in ("amended", "constitution") else []
            if name == "handover":
                found = [left.constitution for left in self.records(step, RunState)]
            for constitution in found:
                made.setdefault(constitution.version, constitution.amendments)
        return tuple((version, change) for version in sorted(made) for change in made[version])

    @property
    def human_decisions(self) -> list[store.Event]:
        """Human decisions, in order."""
        return [e for e in self.events if e["event"] == "human"]

    def read_text(self, name: str) -> str:
        """A file of the run as text. Raises StoreError."""
        return store.read_bytes(self.directory / name).decode(errors="replace")

    def records(self, step: str, kind: type[R]) -> list[R]:
        """A step's records so far; none where it has not begun. Raises StoreError where no step has this name, and
        DamagedError naming file and line."""
        name = step.rpartition("/")[2]
        if step not in self.steps and not is_declared(name):
            cure = "This is a defect of who asks: charter/records/step_names.py lists the names."
            raise StoreError(f"no step is called {name}", cure)
        path = store.records_path(self.directory, step)
        return store.parse_records(path, store.read_lines(path).lines, kind)

    def scores(self, step: str) -> dict[str, Score]:
        """A step's scores by metric, those that nothing was measured for left out."""
        return {s.id: s for s in self.records(step, Score) if s.n or s.unjudged}

    def seal(self, step: str) -> store.Seal | None:
        """A finished step's seal; None where it is not finished. Raises DamagedError."""
        if step not in self.seals:
            return None
        path = store.seal_path(self.directory, step)
        return store.parse_records(path, store.read_bytes(path).splitlines(), store.Seal)[0]

    def _latest_constitution(self) -> Constitution:
        if (self.directory / "constitution.yaml").exists():
            return articles.read_constitution(self.directory / "constitution.yaml")
        for folder in reversed(self.iterations):
            for step in ("constitution", "weighed", "amended"):
                if found := self.records(f"{folder}/{step}", Constitution):
                    return found[0]
        return Constitution()

    def _read_json(self, name: str) -> dict[str, Any]:
        try:
            value: dict[str, Any] = json.loads(self.read_text(name))
        except ValueError as error:
            raise DamagedError(f"{self.directory / name} is not JSON: {error}", store.RESTORE_CURE) from error
        return value


def read_runs(directories: Sequence[Path | str]) -> list[RunReader]:
    """Each run read."""
    return [RunReader(directory) for directory in directories]
