"""A run as it stands on disk, finished or not: what every report is made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from charter import spec as specs
from charter.constitution import document as articles
from charter.constitution.document import Constitution
from charter.constitution.ratification import Settlement, count_votes
from charter.constitution.run_state import RunState
from charter.errors import DamagedError, StoreError
from charter.records.feedback import SNAPSHOT_ROWS, FeedbackRow
from charter.records.measurements import Score
from charter.records.model_refs import ModelRef
from charter.records.record import Record, canonical
from charter.records.rule_decisions import RuleDecision, read_decisions
from charter.records.rules import Amendment
from charter.records.step_names import is_declared
from charter.runs import store

R = TypeVar("R", bound=Record)

_ASKED_FILES = {store.SPEC: "spec", store.ENVIRONMENT: "environment"}


class PlantedFlaws(BaseModel):
    """What became of a world's flaws."""

    model_config = ConfigDict(strict=True)
    flaws: int | None = None
    discovered: int | None = None
    by: dict[str, str] = {}


class RunOutcome(BaseModel):
    """The fields of ``outcome.json`` that are read."""

    model_config = ConfigDict(strict=True)
    method: str = ""
    world: str | None = None
    stopped: str = ""
    independent: bool = True
    policy: ModelRef | None = None
    planted: PlantedFlaws | None = None
    supervision: dict[str, int] = {}


class RunReader:
    """Reads, and writes nothing. Raises StoreError where there is no run, DamagedError where a file cannot be read.

    Args:
        directory: The run.
        hold: Whether the records of a finished step stay in memory, for a page that asks for many of them again. Those
            of a long step never do.
    """

    def __init__(self, directory: Path | str, hold: bool = False) -> None:
        self.directory = Path(directory)
        self._held: dict[tuple[str, type], tuple[store.FileStamp, Sequence[Any]]] | None = {} if hold else None
        if not store.is_present(self.directory, store.JOURNAL):
            raise StoreError(f"{self.directory} holds no run", "Give a run's folder, or start one: charter run")
        self.events, faults = store.read_journal(store.LineStream(self.directory / store.JOURNAL, self.directory))
        self._checked: dict[str, store.FileStamp] = {}
        self._seals: dict[str, store.Seal] = {}
        store.raise_first_fault(self.directory, faults)
        if self.events and self.events[0]["event"] != "created":
            raise DamagedError(f"{self.directory / store.JOURNAL}, line 1: not a run's beginning", store.RESTORE_CURE)
        store.raise_first_fault(self.directory, store.find_link_faults(self.directory, self.events))

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
        if not store.is_present(self.directory, "outcome.json"):
            return {}
        found = self._read_json("outcome.json")
        try:
            RunOutcome.model_validate_json(canonical(found))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            what = f"{self.directory / 'outcome.json'}: {where}: {first['msg']}"
            raise DamagedError(what, store.RESTORE_CURE) from error
        return found

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
        return self._latest_constitution.model_copy(update={"principles": self.settlement.principles})

    @cached_property
    def settlement(self) -> Settlement:
        """The votes of people on the rules of the latest constitution."""
        return self.settle()

    def settle(self, *more: RuleDecision) -> Settlement:
        """The votes with further ones."""
        decisions = (*self.rule_decisions, *more)
        approvals = self.spec.options.ratify.approvals if decisions else 1
        return count_votes(self._latest_constitution, decisions, approvals)

    @cached_property
    def amendments(self) -> tuple[tuple[int, Amendment], ...]:
        """Every change of the constitution, in order, with the version that it made."""
        made: dict[int, tuple[Amendment, ...]] = {}
        for step in self.steps:
            name = step.split("/")[-1]
            found = self.records(step, Constitution) if name in ("amended", "ratified", "constitution") else []
            if name == "handover":
                found = [left.constitution for left in self.records(step, RunState)]
            for constitution in found:
                made.setdefault(constitution.version, constitution.amendments)
        return tuple((version, change) for version in sorted(made) for change in made[version])

    @property
    def human_decisions(self) -> list[store.Event]:
        """Human decisions, in order."""
        return [e for e in self.events if e["event"] == "human"]

    @property
    def feedback(self) -> list[FeedbackRow]:
        """What users said, as the run took it in; none where it takes no feedback. Raises DamagedError."""
        if not store.is_present(self.directory, SNAPSHOT_ROWS):
            return []
        lines = self.read_text(SNAPSHOT_ROWS).encode().splitlines()
        return store.parse_records(self.directory / SNAPSHOT_ROWS, lines, FeedbackRow)

    @property
    def rule_decisions(self) -> tuple[RuleDecision, ...]:
        """What people decided about rules, in order. Raises DamagedError."""
        return read_decisions(self.events)

    def read_text(self, name: str) -> str:
        """A file of the run as text. Raises StoreError, and DamagedError where it is not what the journal says."""
        data = store.read_bytes(store.inner_path(self.directory, name), self.directory)
        if self._digests.get(name) not in (None, store.sha256(data)):
            raise DamagedError(f"{self.directory / name}: the file was changed", store.RESTORE_CURE)
        return data.decode(errors="replace")

    def records(self, step: str, kind: type[R]) -> Sequence[R]:
        """A step's records so far, none where it has not begun; where they are many, each is read when it is asked for.
        Raises StoreError where no step has this name, and DamagedError naming file and line."""
        name = step.rpartition("/")[2]
        if step not in self.steps and not is_declared(name):
            cure = "This is a defect of who asks: charter/records/step_names.py lists the names."
            raise StoreError(f"no step is called {name}", cure)
        path, count = store.records_path(self.directory, step), self._check_step(step)
        if not store.is_present(path.parent, path.name):
            return []
        if self._held is None or count is None:
            return store.load_records(path, self.directory, kind, count)
        stamp, held = self._checked[step], self._held.get((step, kind))
        if held is None or held[0] != stamp:
            held = self._held[step, kind] = (stamp, store.load_records(path, self.directory, kind, count))
        return held[1]

    def find_records(self, step: str, kind: type[R], mark: str = "") -> Iterator[R]:
        """The records of a step whose lines hold ``mark``, a piece of JSON as ``canonical`` writes it; the others are
        not made, which takes most of the time. Raises as ``records`` does."""
        path, sought = store.records_path(self.directory, step), mark.encode()
        for number, line in enumerate(self.lines(step), 1):
            if sought in line:
                yield from store.iterate_records(path, [line], kind, number)

    def lines(self, step: str) -> Iterable[bytes]:
        """The lines of a step's records, compared with its seal where it is finished. Raises DamagedError."""
        self._check_step(step)
        return store.LineStream(store.records_path(self.directory, step), self.directory)

    def count(self, step: str) -> int:
        """How many records a step has so far: by its seal, or by its lines while it is not finished. Raises StoreError,
        DamagedError."""
        seal = self.seal(step)
        if seal is not None:
            return seal.count
        return len(self._open_file(step) or ())

    def tally(self, step: str, field: str) -> Counter[str]:
        """How often each text stands in a field of a step's records; as ``RecordFile.tally_values``, which parses
        none of them. Raises StoreError, DamagedError."""
        self._check_step(step)
        file = self._open_file(step)
        return Counter() if file is None else file.tally_values(field)

    def _open_file(self, step: str) -> store.RecordFile | None:
        path = store.records_path(self.directory, step)
        return store.RecordFile(path, self.directory) if store.is_present(path.parent, path.name) else None

    def _check_step(self, step: str) -> int | None:
        """Compares a step with its seal, once for each state of its file; how many records the seal names, or None
        where the step is not finished. Raises DamagedError."""
        seal, path = self.seal(step), store.records_path(self.directory, step)
        if seal is None:
            return None
        stamp = store.read_stamp(path, self.directory)
        if stamp is None or self._checked.get(step) != stamp:
            packed = store.packed_digests(self.events).get(step)
            if stamp is None or store.file_digest(path, self.directory) != (packed or seal.file):
                _, faults = store.find_record_faults(self.directory, step, self.seals[step], packed)
                store.raise_first_fault(self.directory, faults)
            assert stamp is not None
            self._checked[step] = stamp
        return seal.count

    def scores(self, step: str) -> dict[str, Score]:
        """A step's scores by metric, those that nothing was measured for left out."""
        return {s.id: s for s in self.records(step, Score) if s.n or s.unjudged}

    def seal(self, step: str) -> store.Seal | None:
        """A finished step's seal, which is read once; None where it is not finished. Raises DamagedError."""
        if step in self.seals and step not in self._seals:
            seal, faults = store.read_seal(self.directory, step, self.seals[step])
            store.raise_first_fault(self.directory, faults)
            assert seal is not None
            self._seals[step] = seal
        return self._seals.get(step)

    @cached_property
    def _latest_constitution(self) -> Constitution:
        if store.is_present(self.directory, "constitution.yaml"):
            return articles.from_yaml(self.read_text("constitution.yaml"), str(self.directory / "constitution.yaml"))
        for folder in reversed(self.iterations):
            for step in ("constitution", "ratified", "weighed", "amended"):
                if found := self.records(f"{folder}/{step}", Constitution):
                    return found[0]
        return Constitution()

    @cached_property
    def _digests(self) -> dict[str, str]:
        """The digests that files must have: of results only once the run is finished, since a kill may part them."""
        asked = self.events[0] if self.events else {}
        digests = {name: asked[key] for name, key in _ASKED_FILES.items() if key in asked}
        for derived in (False, True) if self.head else ():
            digests |= store.published_digests(self.events, derived)
        return digests

    def _read_json(self, name: str) -> dict[str, Any]:
        text = self.read_text(name)
        try:
            value = store.parse_json(text.encode())
        except ValueError as error:
            raise DamagedError(f"{self.directory / name} is not JSON: {error}", store.RESTORE_CURE) from error
        if not isinstance(value, dict):
            raise DamagedError(f"{self.directory / name} holds no JSON object", store.RESTORE_CURE)
        return value


def read_runs(directories: Sequence[Path | str]) -> list[RunReader]:
    """Each run read."""
    return [RunReader(directory) for directory in directories]
