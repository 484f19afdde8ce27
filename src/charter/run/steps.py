"""How a step is done: read where it is sealed, gone on with where it was left, sealed when it is complete.

A step is written in this order, so that a kill between any two lines leaves a run that goes on to the same end:
journal "opened" with the inputs' digests; records, a line each as it comes; all records in order; the seal; journal
"sealed". Times and usage stand in the journal alone, so equal runs have equal records and seals.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from charter.errors import (
    BudgetError,
    CharterError,
    DamagedError,
    StaleError,
    StoreError,
    UnavailableError,
    UndecidedError,
)
from charter.records.chat import CallProgress
from charter.records.record import Step, canonical
from charter.records.rule_decisions import RuleDecision, read_decisions
from charter.run import store
from charter.run.ledger import Ledger
from charter.run.stage_call import StageCall, bind_stage, bind_value

R = TypeVar("R")
V = TypeVar("V")
Observer = Callable[[str, int, int], None]
"""Is told of a step, how many of its records are made, and of how many."""

_SYNC_SECONDS = 1.0
_END_EVENTS: dict[type[BaseException], str] = {
    BudgetError: "paused",
    UnavailableError: "paused",
    UndecidedError: "paused",
    KeyboardInterrupt: "interrupted",
}


class Item(Protocol):
    """Anything with an id."""

    @property
    def id(self) -> str:
        """Unique among the items of a step."""
        ...


@runtime_checkable
class CallWatcher(Protocol):
    """An observer that is also told how far the call at work is."""

    def watch_call(self, progress: CallProgress) -> None:
        """Is told while an engine's batch is at work."""
        ...


@dataclass(frozen=True)
class StepContext:
    """What a step needs of its run. ``wake`` is called before anything new is written, with the step's path."""

    directory: Path
    seed: int
    journal: store.Journal
    ledger: Ledger
    observer: Observer
    mark_resumed: Callable[[str], None]


@dataclass(frozen=True)
class Steps:
    """The steps of one folder of a run."""

    context: StepContext
    folder: str

    def map(
        self, name: str, stage: Callable[..., Iterator[R]], items: Sequence[Item], *args: Any, **opts: Any
    ) -> list[R]:
        """One record per item, under the item's id, kept as it comes and returned in the items' order.

        ``stage(items, *args, step=Step)`` yields what is not in ``step.done``, in any order. Raises StoreError where
        ids repeat or an item stays unanswered, StaleError, DamagedError, BudgetError, and what the stage raises."""
        path, call = f"{self.folder}/{name}", bind_stage(stage, items, *args, **opts)
        ids = [item.id for item in items]
        if len(set(ids)) < len(ids):
            raise StoreError(f"{path}: {_first_repeated(ids)} is the id of two items", "Give every item its own id.")
        lines = self._read_sealed(path, call)
        if lines is None:
            with self._open_step(path, call, len(ids)):
                found = self._collect(path, call, ids)
                lines = [found[id] for id in ids]
                self._seal(path, call, lines, {})
        self.context.observer(path, len(ids), len(ids))
        return cast(list[R], self._parse_lines(path, call, lines))

    def once(self, name: str, stage: Callable[..., V], *args: Any, **opts: Any) -> V:
        """All or nothing. ``stage(*args, step=Step)`` returns a record, a list or a tuple of records; what it writes
        into ``step.directory`` (given empty) is sealed with it. Raises as ``map`` does."""
        return cast(V, self._run_once(f"{self.folder}/{name}", bind_stage(stage, *args, **opts)))

    def record(self, name: str, value: V) -> V:
        """Keeps a value that no stage makes: a record, or a list or tuple of records. Raises as ``map`` does."""
        return cast(V, self._run_once(f"{self.folder}/{name}", bind_value(value)))

    def decisions_for(self, name: str) -> tuple[RuleDecision, ...]:
        """What people decided about rules before the step was sealed; so far, where it is not sealed yet."""
        path, events = f"{self.folder}/{name}", self.context.journal.events
        sealed = next((n for n, e in enumerate(events) if e["event"] == "sealed" and e["step"] == path), len(events))
        return read_decisions(events[:sealed])

    def _run_once(self, path: str, call: StageCall[Any]) -> Any:
        lines = self._read_sealed(path, call)
        if lines is None:
            with self._open_step(path, call, None):
                self.context.observer(path, 0, 1)
                lines = self._run_stage(path, call)
        self.context.observer(path, 1, 1)
        records = self._parse_lines(path, call, lines)
        return records[0] if call.shape is None else tuple(records) if call.shape is tuple else records

    def _parse_lines(self, path: str, call: StageCall[Any], lines: list[bytes]) -> list[Any]:
        """What is returned is always read from the lines, so that it is the same whether made now or earlier."""
        return list(store.parse_records(store.records_path(self.context.directory, path), lines, call.kind))

    def _read_sealed(self, path: str, call: StageCall[Any]) -> list[bytes] | None:
        directory, journal = self.context.directory, self.context.journal
        mark = store.seal_digests(journal.events).get(path)
        if mark is None and not store.is_present(directory, f"{path}.seal.json"):
            return None
        seal, lines, faults = store.read_step(directory, path, mark)
        store.raise_first_fault(directory, faults)
        assert seal is not None
        _check_inputs(path, {**seal.inputs, "(type)": seal.type}, {**call.inputs, "(type)": call.type})
        if mark is None:
            self.context.mark_resumed(path)
            journal.append("sealed", step=path, seal=store.sha256(store.seal_bytes(seal)))
        self.context.ledger.passed_seals[path] = seal
        return lines

    @contextmanager
    def _open_step(self, path: str, call: StageCall[Any], items: int | None) -> Iterator[None]:
        """Opens a step, or goes on with it; journals how it ended if it was not sealed."""
        ledger, journal = self.context.ledger, self.context.journal
        self.context.mark_resumed(path)
        opening, plan = ledger.last_opening(path)
        if opening is None or opening["inputs"] != call.inputs:
            records = store.records_path(self.context.directory, path)
            if items is not None and store.read_lines(records, self.context.directory).lines:
                if opening is None:
                    raise DamagedError(f"{records} holds records that the journal does not know", store.RESTORE_CURE)
                _check_inputs(path, opening["inputs"], call.inputs)
            journal.append("opened", step=path, inputs=call.inputs, items=items)
            plan = {}
        ledger.step, ledger.plan = path, plan
        try:
            yield
        except BaseException as error:
            ended = _END_EVENTS.get(type(error), "failed")
            what = error.message if isinstance(error, CharterError) else f"{type(error).__name__}: {error}"
            with suppress(StoreError):
                journal.append(ended, step=path, error=what)
            raise
        finally:
            ledger.step, ledger.plan = "", {}

    def _collect(self, path: str, call: StageCall[Iterator[Any]], ids: Sequence[str]) -> dict[str, bytes]:
        """The line of every item: those on record, then those that the stage yields, each written as it comes."""
        target, wanted, total = store.records_path(self.context.directory, path), frozenset(ids), len(ids)
        reading = store.read_lines(target, self.context.directory)
        lines = dict(zip((r.id for r in self._parse_lines(path, call, reading.lines)), reading.lines, strict=True))
        if len(lines) < len(reading.lines) or not lines.keys() <= wanted:
            raise DamagedError(f"{target} holds records of other items, or one twice", store.RESTORE_CURE)
        self.context.observer(path, len(lines), total)
        if len(lines) == total:
            return lines
        step = Step(path=path, run_seed=self.context.seed, done=frozenset(lines))
        size, synced, handle = reading.size, time.monotonic(), store.open_for_append(target, self.context.directory)
        try:
            with closing(_as_generator(call(step))) as records:
                for record in records:
                    line = _record_line(path, call, record)
                    _check_expected(path, record.id, wanted, lines)
                    size = store.write_line(handle, target, size, line)
                    lines[record.id] = line
                    if time.monotonic() - synced > _SYNC_SECONDS:
                        os.fsync(handle)
                        synced = time.monotonic()
                    self.context.observer(path, len(lines), total)
        finally:
            os.close(handle)
        if missing := [id for id in ids if id not in lines]:
            message = f"{path}: {len(missing)} of {total} items got no record, {missing[0]} first"
            raise StoreError(message, "This is a defect of the stage; what it yielded is kept.")
        return lines

    def _run_stage(self, path: str, call: StageCall[Any]) -> list[bytes]:
        directory = self.context.directory / path
        with store.translate_os_errors(directory, "emptied"):
            if directory.exists():
                shutil.rmtree(directory)
            directory.mkdir(parents=True)
        result = call(Step(path=path, run_seed=self.context.seed, directory=directory))
        records = [result] if call.shape is None else list(result)
        lines = [_record_line(path, call, record) for record in records]
        if twice := _first_repeated([getattr(record, "id", str(number)) for number, record in enumerate(records)]):
            raise StoreError(f"{path}: {twice} is the id of two records", "Give every record its own id.")
        files = store.list_files(directory)
        with store.translate_os_errors(directory, "kept"):
            for file in files.values():
                store.sync_to_disk(file)
            if not files:
                shutil.rmtree(directory)
        self._seal(path, call, lines, {name: store.file_digest(file) for name, file in files.items()})
        return lines

    def _seal(self, path: str, call: StageCall[Any], lines: list[bytes], files: dict[str, str]) -> None:
        data = b"".join(line + b"\n" for line in lines)
        seal = store.Seal(
            step=path,
            type=call.type,
            count=len(lines),
            records=tuple(map(store.sha256, lines)),
            file=store.sha256(data),
            inputs=call.inputs,
            templates=call.templates,
            calls=self.context.ledger.count_planned(),
            files=files,
        )
        store.write_atomic(store.records_path(self.context.directory, path), data)
        store.write_atomic(store.seal_path(self.context.directory, path), store.seal_bytes(seal))
        self.context.journal.append("sealed", step=path, seal=store.sha256(store.seal_bytes(seal)))
        self.context.ledger.passed_seals[path] = seal


def _as_generator(records: Any) -> Generator[Any, None, None]:
    yield from records


def _first_repeated(ids: Sequence[str]) -> str | None:
    return next((id for id, count in Counter(ids).items() if count > 1), None)


def _record_line(path: str, call: StageCall[Any], record: Any) -> bytes:
    if type(record) is not call.kind:
        made = f"{path}: the stage made a {type(record).__name__}, not a {call.kind.__name__}"
        raise StoreError(made, "This is a defect of the stage: its annotation names what it makes.")
    return canonical(record).encode()


def _check_expected(path: str, id: str, wanted: Collection[str], lines: Collection[str]) -> None:
    if id in lines or id not in wanted:
        what = "twice" if id in lines else "which is no item's id"
        raise StoreError(f"{path}: the stage yields {id} {what}", "This is a defect of the stage.")


def _check_inputs(path: str, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    if changed := sorted(name for name in {*old, *new} if old.get(name) != new.get(name)):
        cure = f"Keep the old inputs, or make a new run from this step: charter fork RUN NEW --at {path}"
        raise StaleError(f"{path} was made from other inputs; changed: {', '.join(changed)}", cure)
