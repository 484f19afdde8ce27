"""What belongs together in a run: failures, the rows made of them, the checkpoints trained on these, and their scores.

Rows and checkpoints are tied by content: the seal of a policy holds the digest of the rows that it was trained on, so
that this holds for every method, whatever its steps are called."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from charter.constitution.run_state import RunState
from charter.errors import CharterError
from charter.records.chat import Exchange
from charter.records.decisions import Decision
from charter.records.item_ids import original_row_id
from charter.records.measurements import Measurement, Score
from charter.records.model_refs import ModelRef
from charter.records.record import digest
from charter.records.revisions import Revision, RevisionCheck
from charter.records.rules import Lookalikes
from charter.records.training_rows import Example
from charter.records.verdicts import Finding
from charter.reports.chain import chain_runs
from charter.runs import store
from charter.runs.reader import RunReader

INHERITED_FOLDER = "inherited"
"""The folder that holds what a run took over from the run it goes on from."""


@dataclass(frozen=True)
class Failure:
    """A finding, with the folder it was found in and, of its revision, the row or why there is none."""

    folder: str
    finding: Finding
    row: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class TracedRow:
    """A training row, as it was first made. ``cause``: the exchange it comes from; ``cluster``: of a look-alike, the
    cluster of failures that it is like; ``shown``: ids of the rules it was written under."""

    folder: str
    example: Example
    cause: str
    shown: tuple[str, ...]
    cluster: str


@dataclass(frozen=True)
class Checkpoint:
    """A trained policy; ``rows``: how often each row was in its training set; ``final``: the run ended with it."""

    step: str
    policy: ModelRef
    rows: Counter[str]
    decision: Decision | None
    final: bool

    @property
    def folder(self) -> str:
        """Its iteration."""
        return self.step.split("/")[0]

    @property
    def rolled_back(self) -> bool:
        """Whether it was not accepted."""
        return self.decision is not None and self.decision.action in ("roll_back", "give_up")


@dataclass(frozen=True)
class PolicyMeasurement:
    """What a benchmark found of one policy on one split. ``better``: which way is good, by metric."""

    folder: str
    split: str
    model: str
    measurements: tuple[Measurement, ...]
    better: dict[str, str]
    reading: RunReader

    @cached_property
    def asked(self) -> dict[str, Exchange]:
        """The answers by id, read when they are asked for: most of a page does without."""
        return {e.id: e for e in self.reading.records(f"{self.folder}/{self.split}_exchanges", Exchange)}


@dataclass(frozen=True)
class AnswerSet:
    """A step's answers, or those of its revisions, and the steps that judged or measured just these."""

    step: str
    exchanges: tuple[Exchange, ...]
    revisions: tuple[Revision, ...]
    judged_in: tuple[str, ...]


class RunGraph:
    """Reads a run, finished or not; steps that are not sealed yet are left out. ``older``: the run that it goes on
    from, where that is at hand. Raises as ``Reading`` does."""

    def __init__(self, reading: RunReader) -> None:
        self.reading = reading
        self.older: RunGraph | None = None

    @cached_property
    def step_types(self) -> dict[str, str]:
        """What each sealed step holds, e.g. ``001/rows`` -> ``Example``."""
        seals = {step: self.reading.seal(step) for step in self.reading.steps}
        return {step: seal.record_type for step, seal in seals.items() if seal is not None}

    @cached_property
    def inherited(self) -> RunState | None:
        """What the run took over from the one it goes on from."""
        return next(iter(self.reading.records(f"{INHERITED_FOLDER}/handover", RunState)), None)

    @cached_property
    def failures(self) -> dict[str, Failure]:
        """Every failure by id, the inherited ones first."""
        given = self.inherited.findings if self.inherited else ()
        found = {f.id: Failure(INHERITED_FOLDER, f, "", ()) for f in given}
        for step in self._steps_of_type("Finding"):
            folder = step.split("/")[0]
            kept = {k.id: k for k in self.reading.records(f"{folder}/kept", RevisionCheck)}
            for finding in self.reading.records(step, Finding):
                outcome = kept.get(finding.id)
                row = outcome.example.id if outcome and outcome.kept and outcome.example else ""
                found[finding.id] = Failure(folder, finding, row, outcome.reasons if outcome else ())
        return found

    @cached_property
    def lookalike_clusters(self) -> dict[str, str]:
        """The cluster of failures that each look-alike prompt is like, by ids."""
        found = dict(self.older.lookalike_clusters) if self.older is not None else {}
        for step in self._steps_of_type("Lookalikes"):
            for made in self.reading.records(step, Lookalikes):
                found |= {prompt.id: made.id for prompt in made.prompts}
        return found

    @cached_property
    def rows(self) -> dict[str, TracedRow]:
        """Every training row by id; the copies that replay makes of a row are that row."""
        rules = {p.id for p in self.reading.constitution.principles}
        made: dict[str, TracedRow] = {}
        for folder, example in self._examples():
            cause, *others = example.because or ("",)
            shown = tuple(other for other in others if other in rules)
            made.setdefault(
                original_row_id(example.id),
                TracedRow(folder, example, cause, shown, self.lookalike_clusters.get(cause, "")),
            )
        return made

    @cached_property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Every policy that was trained, in order."""
        rows = {_digest_lines(self._record_lines(step)): step for step in self._steps_of_type("Example")}
        last = (self.reading.outcome.get("policy") or {}).get("digest")
        made = []
        for step in self._steps_of_type("ModelRef"):
            seal, policy = self.reading.seal(step), self.reading.records(step, ModelRef)[0]
            trained = [rows[mark] for mark in seal.inputs.values() if mark in rows] if seal else []
            if policy.adapter != step:  # nothing was trained
                continue
            used = Counter(original_row_id(e.id) for s in trained for e in self.reading.records(s, Example))
            for left_out in policy.left_out:
                used[original_row_id(left_out)] -= 1
            decision = next(iter(self.reading.records(f"{step.split('/')[0]}/decision", Decision)), None)
            made.append(Checkpoint(step, policy, +used, decision, policy.digest == last))
        return tuple(made)

    @cached_property
    def answers(self) -> tuple[AnswerSet, ...]:
        """Every set of answers with what was said of it; empty sets are left out."""
        found: dict[str, AnswerSet] = {}
        marks: dict[str, list[str]] = {}
        for step in self._steps_of_type("Exchange"):
            exchanges = tuple(self.reading.records(step, Exchange))
            found[step] = AnswerSet(step, exchanges, (), ())
            marks.setdefault(_digest_lines(self._record_lines(step)), []).append(step)
        for step in self._steps_of_type("Revision"):
            revisions = tuple(self.reading.records(step, Revision))
            exchanges = tuple(r.exchange for r in revisions)
            if (mark := digest(exchanges)) not in marks:
                found[step], marks[mark] = AnswerSet(step, exchanges, revisions, ()), [step]
        for step in (*self._steps_of_type("Verdict"), *self._steps_of_type("Measurement")):
            for of in self._judged_in(step, marks) & found.keys():
                found[of] = replace(found[of], judged_in=(*found[of].judged_in, step))
        return tuple(answers for answers in found.values() if answers.exchanges)

    def _judged_in(self, step: str, marks: Mapping[str, Sequence[str]]) -> set[str]:
        """The steps whose answers were judged or measured in ``step``, by their ``marks``: those of its own folder
        where others hold the same. A benchmark is known by its name, a side of an audit by its folder: what is
        judged there is a part of the answers."""
        folder, _, name = step.partition("/")
        if name.startswith(("bench_", "gate_bench_")):
            return {f"{folder}/{name.removesuffix('_measurements')}_exchanges"}
        if self.reading.spec.method == "audit":
            return {f"{folder}/exchanges"}
        seal, of = self.reading.seal(step), set[str]()
        for mark in seal.inputs.values() if seal else ():
            same = marks.get(mark, ())
            of |= {one for one in same if one.startswith(f"{folder}/")} or set(same[-1:])
        return of

    def sealed_at(self, step: str) -> str:
        """When a step was finished, ISO 8601; nothing where it is not."""
        return next((str(e["at"]) for e in self.reading.events if (e["event"], e.get("step")) == ("sealed", step)), "")

    @cached_property
    def measurements(self) -> tuple[PolicyMeasurement, ...]:
        """Every measurement, in order."""
        out = []
        for step in self._steps_of_type("Measurement"):
            folder, split = step.split("/")[0], step.split("/")[1].removesuffix("_measurements")
            first = next(self.reading.find_records(f"{folder}/{split}_exchanges", Exchange), None)
            model = first.model if first is not None else ""
            better = {s.id: s.better for s in self.reading.records(f"{folder}/{split}_scores", Score)}
            found = tuple(self.reading.records(step, Measurement))
            out.append(PolicyMeasurement(folder, split, model, found, dict(better), self.reading))
        return tuple(out)

    @cached_property
    def prompt_texts(self) -> dict[str, tuple[str, ...]]:
        """Every prompt that was asked: id -> its whole text and its last turn."""
        asked = [e for step in self._steps_of_type("Exchange") for e in self.reading.records(step, Exchange)]
        return {e.id: (e.prompt.text, e.prompt.last) for e in asked}

    def _examples(self) -> Iterator[tuple[str, Example]]:
        given = self.inherited
        for example in (*given.examples, *given.replay_rows) if given else ():
            yield INHERITED_FOLDER, example
        for step in self._steps_of_type("Example"):
            yield from ((step.split("/")[0], e) for e in self.reading.records(step, Example))

    def _steps_of_type(self, kind: str) -> list[str]:
        return [step for step, held in self.step_types.items() if held == kind]

    def _record_lines(self, step: str) -> Iterable[bytes]:
        return self.reading.lines(step)


def _digest_lines(lines: Iterable[bytes]) -> str:
    """The digest of a list of records, as a seal has it of an input."""
    found, comma = hashlib.sha256(b"["), b""
    for line in lines:
        found.update(comma + line)
        comma = b","
    found.update(b"]")
    return found.hexdigest()


def read_ancestry(directory: Path | str) -> tuple[list[RunGraph], str]:
    """A run (of a chain, its last one) and those that it goes on from, the newest first; and a note where one of them
    is not at hand."""
    steps = chain_runs(Path(directory))
    runs, note = [RunGraph(RunReader(steps[-1] if steps else directory))], ""
    while (asked := runs[-1].reading.spec.continue_from) is not None:
        newer = runs[-1].reading
        place = newer.directory / asked.run
        try:
            old = RunReader(place)
        except CharterError:
            note = f"{newer.name} goes on from {asked.run}, which is not there: only what it took over is shown."
            break
        head = store.expected_head(old.events)
        if asked.head and (head is None or asked.head not in (head.head, head.records)):
            note = f"{asked.run} is no longer the run that {newer.name} goes on from: it is left out."
            break
        if any(old.directory.resolve() == known.reading.directory.resolve() for known in runs):
            break
        runs.append(RunGraph(old))
        runs[-2].older = runs[-1]
    return runs, note
