"""A run: a directory, and the one process at work in it.

The results come last, in this order: published files, journal "published", journal "finished", HEAD.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import BaseModel, ConfigDict

from charter.errors import DamagedError, StaleError, StoreError
from charter.ports import Engine
from charter.runs import store
from charter.runs.ahead_answers import AheadAnswers
from charter.runs.creation import copy_step, create_run_dir, sealed_steps_before
from charter.runs.ledger import Ledger, MeteredEngine, Purpose
from charter.runs.spending import Price, Spending
from charter.runs.steps import CallWatcher, Observer, StepContext, Steps
from charter.spec import PARQUET_ABOVE_MB, Budget

_RESERVED = {store.HEAD, store.JOURNAL, store.SPEC, store.ENVIRONMENT, store.LOCK}


class _RecordId(BaseModel):
    model_config = ConfigDict(extra="ignore")
    id: str


class Run:
    """Opens a run and locks it. ``budget`` bounds planned oracle calls (aligning and measuring together), their
    tokens and money, and the hours of work;
    ``observer`` is told (step, done, total), and a CallWatcher how far a call inside a step is; ``environment`` is
    journaled when work goes on; a step whose lines take more than ``parquet_above_mb`` megabytes is kept as Parquet.

    ``seed`` is the run's; ``repeatable`` counts, by purpose, the calls asked for before a stop whose records are not on
    file: at most so many are made again. Raises StoreError (no run there), LockedError, DamagedError."""

    def __init__(
        self,
        directory: Path | str,
        *,
        budget: Budget | None = None,
        observer: Observer | None = None,
        environment: Mapping[str, Any] | None = None,
        parquet_above_mb: int = PARQUET_ABOVE_MB,
    ) -> None:
        self.directory = Path(directory)
        self._environment = dict(environment or {})
        if not store.is_present(self.directory, store.JOURNAL):
            raise StoreError(f"{self.directory} holds no run", "Give a run's folder, or start one: charter run")
        with ExitStack() as opened:
            lock = store.Lock(self.directory)
            opened.callback(lock.release)
            self._journal = store.Journal(self.directory)
            opened.callback(self._journal.close)
            given = budget or Budget()
            watch_call = observer.watch_call if isinstance(observer, CallWatcher) else None
            spending = Spending.from_events(self._journal.events, given)
            self._ledger = Ledger(self._journal, given, spending, watch_call=watch_call)
            self.seed = self._check_start()
            self.repeatable_calls = self._count_repeatable()
            self._resources = opened.pop_all()
        self._resumed = not any(event["event"] == "opened" for event in self._journal.events)
        self._context = StepContext(
            self.directory,
            self.seed,
            self._journal,
            self._ledger,
            observer or _ignore_progress,
            self._mark_resumed,
            parquet_above_mb * 1_000_000,
        )

    @classmethod
    def create(
        cls,
        directory: Path | str,
        *,
        spec_text: str,
        seed: int = 0,
        environment: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Run:
        """Makes a new run and opens it; further options as for the class. Raises StoreError where the folder holds a
        run or anything else."""
        with create_run_dir(Path(directory), spec_text, seed, environment or {}):
            pass
        return cls(directory, environment=environment, **options)

    @classmethod
    def open(cls, directory: Path | str, **options: Any) -> Run:
        """Opens a run to go on with it, or to read it where it is finished; options as for the class."""
        return cls(directory, **options)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets the next process in. The run can be opened again."""
        self._resources.close()

    def steps(self, folder: str) -> Steps:
        """The steps under one folder of the run, e.g. ``001``: its ``map`` and ``once`` do the work."""
        return Steps(self._context, folder)

    def meter_engine(self, engine: Engine, role: str, purpose: Purpose, price: Price | None = None) -> Engine:
        """The engine with a ledger: its calls are journaled, counted in the seals and held to the budget. ``price``:
        of a million tokens read and written."""
        return MeteredEngine(engine, self._ledger, role, purpose, price)

    def count_calls(self, purpose: Purpose) -> int:
        """Planned calls of the steps passed so far: no kill, and no later step on the disk, changes it."""
        return self._ledger.count_calls(purpose)

    @property
    def final_head(self) -> store.Head | None:
        """What HEAD holds; None while the run is not finished."""
        return store.expected_head(self._journal.events)

    def publish(self, files: Mapping[str, str | bytes | Path], derived: bool = False) -> None:
        """Writes results into the run's folder: texts, bytes, or copies of a file or a folder. ``derived`` results may
        hold times (a report); they stay out of the records' hash. Publishing the same again changes nothing.

        Raises StaleError where a finished run has other results."""
        flat = _flatten(files)
        digests = {name: store.file_digest(d) if isinstance(d, Path) else store.sha256(d) for name, d in flat.items()}
        known = store.published_digests(self._journal.events, derived)
        changed = any(known.get(name) != digest for name, digest in digests.items())
        if self.final_head:
            if changed and not derived:
                raise StaleError("the finished run has other results", "Go on in a new run: charter fork")
            return
        self._mark_resumed("results")
        for name, data in flat.items():
            store.write_atomic(self.directory / name, data)
        if changed:
            self._journal.append("published", files=digests, derived=derived)

    def finish(self) -> store.Head:
        """Writes HEAD, the completeness marker, and returns it; on a finished run it returns the same."""
        if self.final_head is None:
            if left := self._unsealed_steps():
                raise StoreError(f"{left[0]} is not finished", "Go on with it: charter resume")
            self._mark_resumed("results")
            shutil.rmtree(self.directory / store.AHEAD, ignore_errors=True)
            self._journal.append("finished", records=store.records_hash(self._journal.events))
        return self._write_head()

    @property
    def human_count(self) -> int:
        """Human decisions taken down so far."""
        return sum(event["event"] == "human" for event in self._journal.events)

    def record_human_decision(self, decision: str, **fields: Any) -> None:
        """Takes down a human decision (approve, reject, edit, rate), also on a finished run: the one door for it."""
        self._journal.append("human", decision=decision, fields=fields)

    def fork(
        self,
        directory: Path | str,
        at: str | None = None,
        spec_text: str | None = None,
        seed: int | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> Path:
        """Makes a new run with the sealed steps before ``at`` (a step, or a folder: its first step; None: all of them),
        under this run's spec, seed and environment where no others are given. Its journal names this run's last hash
        and its records. Raises StoreError, DamagedError."""
        events = self._journal.events
        steps = sealed_steps_before(events, at)
        seals = {event["step"]: event for event in events if event["event"] == "sealed"}
        if spec_text is None:
            spec_text = store.read_bytes(self.directory / store.SPEC, self.directory).decode(errors="replace")
        if environment is None:
            environment = self._read_environment()
        seed = self.seed if seed is None else seed
        with create_run_dir(Path(directory), spec_text, seed, environment or {}) as (new, journal):
            journal.append("forked", last=events[-1]["hash"], records=store.records_hash(events), at=at, steps=steps)
            for step in steps:
                copy_step(self.directory, new, seals[step], journal)
        return Path(directory)

    def _read_environment(self) -> dict[str, Any]:
        try:
            value = store.parse_json(store.read_bytes(self.directory / store.ENVIRONMENT, self.directory))
        except ValueError as error:
            value = error
        if not isinstance(value, dict):
            raise DamagedError(f"{self.directory / store.ENVIRONMENT} is no JSON object: {value}", store.RESTORE_CURE)
        return value

    def _check_start(self) -> int:
        """Checks the first line, what was asked, and HEAD (writing it where a kill came before it); gives the seed."""
        events = self._journal.events
        if not events or events[0]["event"] != "created":
            raise DamagedError(f"{self.directory / store.JOURNAL}, line 1: not a run's beginning", store.RESTORE_CURE)
        store.raise_first_fault(self.directory, store.find_link_faults(self.directory, events))
        for name, key in ((store.SPEC, "spec"), (store.ENVIRONMENT, "environment")):
            if store.sha256(store.read_bytes(self.directory / name, self.directory)) != events[0][key]:
                cure = "Restore it; to run with another spec, make a new run from a step of this one: charter fork"
                raise DamagedError(f"{self.directory / name} was changed after the run began", cure)
        if self.final_head is not None:
            if not store.is_present(self.directory, store.HEAD):
                self._write_head()
            elif store.read_head(self.directory) != self.final_head:
                raise DamagedError(
                    f"{self.directory / store.HEAD}, line 1: not what the journal says", store.RESTORE_CURE
                )
        return int(events[0]["seed"])

    def _write_head(self) -> store.Head:
        head = self.final_head
        assert head is not None
        if store.read_head(self.directory) != head:
            store.write_atomic(self.directory / store.HEAD, store.head_bytes(head))
        return head

    def _mark_resumed(self, path: str) -> None:
        """New work begins: not in a finished run; the first time after a stop is journaled."""
        if self.final_head is not None:
            raise StoreError(f"{self.directory} is finished and has no {path}", "Go on in a new run: charter fork")
        if not self._resumed:
            self._journal.append("resumed", may_repeat=self.repeatable_calls, environment=self._environment)
            self._resumed = True

    def _unsealed_steps(self, kinds: Collection[str] = ("opened",)) -> list[str]:
        """Those that the journal knows by events of these kinds."""
        opened = dict.fromkeys(e["step"] for e in self._journal.events if e["event"] in kinds)
        return [path for path in opened if not store.is_present(self.directory, f"{path}.seal.json")]

    def _count_repeatable(self) -> dict[str, int]:
        """A call belongs to the item whose id its request carries, alone or before a mark such as ``/`` or ``#``. Those
        whose answers came before their step began are not made again."""
        counts: Counter[str] = Counter()
        for path in self._unsealed_steps(("opened", "asked")):
            plan = self._ledger.read_plan(path)
            records = store.lines_path(self.directory, path)
            planned = plan.opening is not None and plan.opening["items"] is not None
            before = plan.parts * (plan.part_size or 0)
            lines = islice(store.LineStream(records, self.directory), before, None) if planned else ()
            kept = {record.id for record in store.iterate_records(records, lines, _RecordId, before + 1)}
            answered = AheadAnswers(self.directory, path).calls
            for (purpose, _), keys in plan.keys.items():
                left = keys.keys() - answered
                starts = ([key[:i] for i, letter in enumerate(key) if not letter.isalnum()] for key in left)
                counts[purpose] += sum(kept.isdisjoint(start) for start in starts)
        return dict(+counts)


def _ignore_progress(path: str, done: int, total: int) -> None:
    """The observer that nobody asked for."""
    del path, done, total


def _flatten(files: Mapping[str, str | bytes | Path]) -> dict[str, bytes | Path]:
    flat: dict[str, bytes | Path] = {}
    for name, data in files.items():
        if name in _RESERVED or Path(name).is_absolute() or ".." in Path(name).parts:
            raise StoreError(f"{name} cannot be published under this name", "Choose another name.")
        if isinstance(data, Path) and data.is_dir():
            flat |= {f"{name}/{key}": file for key, file in store.list_files(data).items()}
        else:
            flat[name] = data.encode() if isinstance(data, str) else data
    return flat
