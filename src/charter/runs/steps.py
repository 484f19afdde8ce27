"""How a step is done: read where it is sealed, gone on with where it was left, sealed when it is complete.

A step is written in this order, so that a kill between any two lines leaves a run that goes on to the same end:
journal "opened" with the inputs' digests; records, a line each as it comes; all records in order; the seal; where the
lines are large, a Parquet file in their place; journal "sealed". Times and usage stand in the journal alone, so equal
runs have equal records and seals.

A step of more than ``PART`` items is handed to its stage in parts of so many, one after the other, and journal "passed"
follows each. So what is held does not grow with the step. A stage makes each record of its item alone.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
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
from charter.runs import store
from charter.runs.ahead_answers import AheadAnswers, AheadWriter
from charter.runs.item_parts import PART, Item, ItemParts, PartAtWork, RecordedLines
from charter.runs.ledger import Ledger, StepPlan
from charter.runs.next_step import NextStep, ask_ahead
from charter.runs.stage_call import StageCall, bind_stage, bind_value
from charter.runs.unique_ids import find_repeated_id

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


@runtime_checkable
class CallWatcher(Protocol):
    """An observer that is also told how far the call at work is."""

    def watch_call(self, progress: CallProgress) -> None:
        """Is told while an engine's batch is at work."""
        ...


@dataclass(frozen=True)
class StepContext:
    """What a step needs of its run. ``mark_resumed`` is called before anything new is written, with the step's path;
    records of more than ``parquet_above`` bytes are kept as Parquet."""

    directory: Path
    seed: int
    journal: store.Journal
    ledger: Ledger
    observer: Observer
    mark_resumed: Callable[[str], None]
    parquet_above: int


@dataclass(frozen=True)
class Steps:
    """The steps of one folder of a run."""

    context: StepContext
    folder: str

    def map(
        self,
        name: str,
        stage: Callable[..., Iterator[R]],
        items: Sequence[Item],
        *args: Any,
        then: NextStep | None = None,
        **opts: Any,
    ) -> Sequence[R]:
        """One record per item, under the item's id, kept as it comes and returned in the items' order: a list, or where
        they are many, a sequence that reads each record from the disk when it is asked for.

        ``stage(items, *args, step=Step)`` yields what is not in ``step.done``, in any order. ``then``: the step after
        this one, whose calls are made meanwhile where they can be. Raises StoreError where ids repeat or an item stays
        unanswered, StaleError, DamagedError, BudgetError, and what the stage raises."""
        path, call = f"{self.folder}/{name}", bind_stage(stage, items, *args, **opts)
        if twice := find_repeated_id(lambda: (item.id for item in items)):
            raise StoreError(f"{path}: {twice} is the id of two items", "Give every item its own id.")
        if not self._read_sealed(path, call):
            with self._open_step(path, call, len(items)) as part_size:
                parts = ItemParts(items, part_size)
                with self._ask_ahead(then, parts, args) as hand_on:
                    self._collect(path, call, parts, hand_on)
                self._seal(path, call, parts.order_lines(self._lines(path)), {})
        self.context.observer(path, len(items), len(items))
        return cast(Sequence[R], self._read_records(path, call))

    def map_next(self, following: NextStep, items: Sequence[Item]) -> Sequence[Any]:
        """Does the step that was announced to the one before it. Raises as ``map`` does."""
        return self.map(following.name, following.stage, items, *following.args)

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
        if not self._read_sealed(path, call):
            with self._open_step(path, call, None):
                self.context.observer(path, 0, 1)
                self._run_stage(path, call)
        self.context.observer(path, 1, 1)
        records = self._read_records(path, call)
        return records[0] if call.shape is None else tuple(records) if call.shape is tuple else list(records)

    def _ask_ahead(
        self, then: NextStep | None, parts: ItemParts, args: Sequence[Any]
    ) -> AbstractContextManager[Callable[[Any], None]]:
        """Gives what the records are handed to. Nothing is asked ahead where calls are counted against a budget, which
        is exact, nor for a step of several parts, whose answers would be too many to be held."""
        ledger, counted = self.context.ledger, self.context.ledger.budget.calls is not None
        if then is None or counted or parts.are_several or not then.may_be_asked_beside(args):
            return nullcontext(_ignore_record)
        step = Step(path=f"{self.folder}/{then.name}", run_seed=self.context.seed)
        return ask_ahead(ledger, step, then, AheadWriter(self.context.directory, step.path))

    def _lines(self, path: str) -> store.LineStream:
        return store.LineStream(store.lines_path(self.context.directory, path), self.context.directory)

    def _read_records(self, path: str, call: StageCall[Any]) -> Sequence[Any]:
        """What is returned is always read from the lines, so that it is the same whether made now or earlier."""
        directory, count = self.context.directory, self.context.ledger.passed_seals[path].count
        return store.load_records(store.records_path(directory, path), directory, call.kind, count)

    def _read_sealed(self, path: str, call: StageCall[Any]) -> bool:
        """Whether the step is sealed, and if so, as it was sealed and from these inputs."""
        directory, journal = self.context.directory, self.context.journal
        mark = store.seal_digests(journal.events).get(path)
        if mark is None and not store.is_present(directory, f"{path}.seal.json"):
            return False
        seal, faults = store.find_step_faults(directory, path, mark, store.packed_digests(journal.events).get(path))
        store.raise_first_fault(directory, faults)
        assert seal is not None
        _check_inputs(path, {**seal.inputs, "(type)": seal.type}, {**call.inputs, "(type)": call.type})
        if mark is None:
            self.context.mark_resumed(path)
            self._journal_seal(path, call, store.seal_digest(directory, seal))
        self.context.ledger.passed_seals[path] = seal
        return True

    @contextmanager
    def _open_step(self, path: str, call: StageCall[Any], items: int | None) -> Iterator[int]:
        """Opens a step, or goes on with it; journals how it ended if it was not sealed. Gives the size of its parts."""
        ledger, journal = self.context.ledger, self.context.journal
        self.context.mark_resumed(path)
        plan = ledger.read_plan(path)
        if plan.opening is None or plan.opening["inputs"] != call.inputs:
            if items is not None and next(iter(self._lines(path)), None) is not None:
                if plan.opening is None:
                    records = store.lines_path(self.context.directory, path)
                    raise DamagedError(f"{records} holds records that the journal does not know", store.RESTORE_CURE)
                _check_inputs(path, plan.opening["inputs"], call.inputs)
            fields: dict[str, Any] = {"step": path, "inputs": call.inputs, "items": items}
            fields |= {"part": PART} if items is not None and items > PART else {}
            plan = StepPlan(journal.append("opened", **fields))
        ledger.here.begin(path, plan, AheadAnswers(self.context.directory, path))
        try:
            yield plan.part_size or items or 1
        except BaseException as error:
            ended = _END_EVENTS.get(type(error), "failed")
            what = error.message if isinstance(error, CharterError) else f"{type(error).__name__}: {error}"
            with suppress(StoreError):
                journal.append(ended, step=path, error=what)
            raise
        finally:
            ledger.here.end()

    def _collect(
        self, path: str, call: StageCall[Iterator[Any]], parts: ItemParts, hand_on: Callable[[Any], None]
    ) -> None:
        """The line of every item, part by part: those on record, then those that the stage yields. Each record is
        handed on when it is written."""
        on_record, ledger = RecordedLines(self._lines(path)), self.context.ledger
        for number, first in enumerate(parts.starts):
            self._collect_part(path, call, parts, first, on_record, hand_on)
            if parts.are_several and number >= ledger.here.plan.parts:
                ledger.pass_part(number)
        if on_record.take(1):
            raise self._foreign_records(path)

    def _collect_part(
        self,
        path: str,
        call: StageCall[Iterator[Any]],
        parts: ItemParts,
        first: int,
        on_record: RecordedLines,
        hand_on: Callable[[Any], None],
    ) -> None:
        """Nothing of a part is held when it is done."""
        items, total = parts.take(first), len(parts.items)
        known = self._read_known(path, call, on_record.take(len(items)), items, first)
        part = PartAtWork(items, set(known), first, total, hand_on)
        self.context.observer(path, first + len(part.known), total)
        if len(part.known) < len(items):
            for record in known.values():
                hand_on(record)
            of_part = call.with_items(first, items, total) if parts.are_several else call
            on_record.size = self._fill_part(path, of_part, part, on_record.size)

    def _read_known(
        self, path: str, call: StageCall[Any], lines: Sequence[bytes], items: Sequence[Item], first: int
    ) -> dict[str, Any]:
        """The records of a part that are on the disk, by id."""
        records = store.iterate_records(store.lines_path(self.context.directory, path), lines, call.kind, first + 1)
        known = {getattr(record, "id", ""): record for record in records}
        if len(known) < len(lines) or not known.keys() <= {item.id for item in items}:
            raise self._foreign_records(path)
        return known

    def _foreign_records(self, path: str) -> DamagedError:
        target = store.lines_path(self.context.directory, path)
        return DamagedError(f"{target} holds records of other items, or one twice", store.RESTORE_CURE)

    def _fill_part(self, path: str, call: StageCall[Iterator[Any]], part: PartAtWork, size: int) -> int:
        """Writes what the stage yields, each record as it comes, from ``size`` on; gives the new size."""
        target, wanted = store.lines_path(self.context.directory, path), {item.id for item in part.items}
        step = Step(path=path, run_seed=self.context.seed, done=frozenset(part.known))
        synced, handle = time.monotonic(), store.open_for_append(target, self.context.directory)
        try:
            with closing(_as_generator(call(step))) as records:
                for record in records:
                    line = _record_line(path, call, record)
                    _check_expected(path, record.id, wanted, part.known)
                    size = store.write_line(handle, target, size, line)
                    part.known.add(record.id)
                    part.hand_on(record)
                    if time.monotonic() - synced > _SYNC_SECONDS:
                        os.fsync(handle)
                        synced = time.monotonic()
                    self.context.observer(path, part.first + len(part.known), part.total)
        finally:
            os.close(handle)
        if missing := [item.id for item in part.items if item.id not in part.known]:
            message = f"{path}: {len(missing)} of {part.total} items got no record, {missing[0]} first"
            raise StoreError(message, "This is a defect of the stage; what it yielded is kept.")
        return size

    def _run_stage(self, path: str, call: StageCall[Any]) -> None:
        directory = self.context.directory / path
        with store.translate_os_errors(directory, "emptied"):
            if directory.exists():
                shutil.rmtree(directory)
            directory.mkdir(parents=True)
        result = call(Step(path=path, run_seed=self.context.seed, directory=directory))
        records = [result] if call.shape is None else list(result)
        if twice := find_repeated_id(lambda: (getattr(one, "id", str(n)) for n, one in enumerate(records))):
            raise StoreError(f"{path}: {twice} is the id of two records", "Give every record its own id.")
        files = store.list_files(directory)
        with store.translate_os_errors(directory, "kept"):
            for file in files.values():
                store.sync_to_disk(file)
            if not files:
                shutil.rmtree(directory)
        lines = (_record_line(path, call, record) for record in records)
        self._seal(path, call, lines, {name: store.file_digest(file) for name, file in files.items()})

    def _seal(self, path: str, call: StageCall[Any], lines: Iterable[bytes], files: dict[str, str]) -> None:
        count, digest = store.write_records(store.lines_path(self.context.directory, path), lines)
        seal = store.Seal(
            step=path,
            type=call.type,
            count=count,
            file=digest,
            inputs=call.inputs,
            templates=call.templates,
            calls=self.context.ledger.count_planned(),
            files=files,
        )
        self._journal_seal(path, call, store.write_seal(self.context.directory, seal))
        self.context.ledger.passed_seals[path] = seal
        if (answers := self.context.ledger.here.answers) is not None:
            answers.remove()

    def _journal_seal(self, path: str, call: StageCall[Any], mark: str) -> None:
        """Puts the records into their last form, and takes down that the step is sealed."""
        packed = store.pack_records(self.context.directory, path, call.kind, self.context.parquet_above)
        form: dict[str, Any] = {} if packed is None else {"parquet": packed}
        self.context.journal.append("sealed", step=path, seal=mark, **form)


def _ignore_record(record: Any) -> None:
    """The next step that is not asked ahead."""
    del record


def _as_generator(records: Any) -> Generator[Any, None, None]:
    yield from records


def _record_line(path: str, call: StageCall[Any], record: Any) -> bytes:
    if type(record) is not call.kind:
        made = f"{path}: the stage made a {type(record).__name__}, not a {call.kind.__name__}"
        raise StoreError(made, "This is a defect of the stage: its annotation names what it makes.")
    return canonical(record).encode()


def _check_expected(path: str, id: str, wanted: Collection[str], known: Collection[str]) -> None:
    if id in known or id not in wanted:
        what = "twice" if id in known else "which is no item's id"
        raise StoreError(f"{path}: the stage yields {id} {what}", "This is a defect of the stage.")


def _check_inputs(path: str, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    if changed := sorted(name for name in {*old, *new} if old.get(name) != new.get(name)):
        cure = f"Keep the old inputs, or make a new run from this step: charter fork RUN NEW --at {path}"
        raise StaleError(f"{path} was made from other inputs; changed: {', '.join(changed)}", cure)
