"""A run as an object: what it holds, with typed records, data frames and the reports' figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from charter.errors import StoreError
from charter.jobs.notebook.frames import frame
from charter.jobs.notebook.record_types import find_record_type
from charter.records.measurements import Score
from charter.records.record import Record
from charter.reports.audit_comparison import AuditReport, read_audit
from charter.reports.benchmark_figures import read_figures
from charter.reports.chain import chain_runs, is_chain
from charter.reports.explanation import Explanation, QuestionKind, explain_item
from charter.reports.judge_trust import read_own_calibration
from charter.reports.paired_tests import FINAL_STEP, START_STEP, compare_before_after
from charter.reports.provenance import RunGraph
from charter.reports.run_summary import RunSummary, summarise_reading
from charter.reports.score_table import COLUMNS, list_scores
from charter.runs.reader import RunReader

if TYPE_CHECKING:
    import pandas

    from charter.constitution.document import Constitution
    from charter.records.calibration_results import Calibration
    from charter.spec import Spec

R = TypeVar("R", bound=Record)


class LoadedRun:
    """A run as it stood on disk when it was loaded, finished or not. It is read, and never changed.

    Args:
        path: The run's folder; of a chain of runs, its last step that has begun.

    Raises:
        StoreError: There is no run.
        DamagedError: A file of it cannot be read. Members raise it too, for what they read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if is_chain(self.path):
            begun = chain_runs(self.path)
            if not begun:
                raise StoreError(f"{path} is a chain whose first step has not begun", f"Go on: charter resume {path}")
            self.path = begun[-1]
        self._reader = RunReader(self.path, hold=True)
        self._graph = RunGraph(self._reader)

    def __repr__(self) -> str:
        state = "finished" if self.finished else f"not finished, at {self.steps[-1] if self.steps else 'its beginning'}"
        return f"LoadedRun({str(self.path)!r}: {self.spec.method}, {state})"

    @property
    def spec(self) -> Spec:
        """What was asked. Raises SpecError."""
        return self._reader.spec

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return self._reader.head is not None

    @property
    def steps(self) -> tuple[str, ...]:
        """Every step that has begun, in order, such as ``001/exchanges``."""
        return self._reader.steps

    @property
    def iterations(self) -> tuple[str, ...]:
        """The folders of the iterations that have begun: ``001``, ``002`` and so on."""
        return self._reader.iterations

    @property
    def constitution(self) -> Constitution:
        """The latest one, with what people decided about its rules since."""
        return self._reader.constitution

    @property
    def summary(self) -> RunSummary:
        """The figures of ``charter show --json``."""
        return summarise_reading(self._reader)

    @property
    def audit(self) -> AuditReport | None:
        """What an audit found; None for another method, or while a side is missing."""
        return read_audit(self._reader)

    @property
    def calibration(self) -> Calibration | None:
        """How far a judge was found to be right; None for another method, or before the end."""
        return read_own_calibration(self._reader)

    @overload
    def records(self, step: str) -> Iterator[Any]: ...
    @overload
    def records(self, step: str, kind: type[R] | None) -> Iterator[R]: ...
    def records(self, step: str, kind: type[Record] | None = None) -> Iterator[Record]:
        """The records of a step, one after the other: those so far, where it is not finished.

        Args:
            step: As in ``steps``.
            kind: The type of the records. None: as the step's seal says or, where it has none yet, as the seal of the
                same step in another iteration says.

        Raises:
            StoreError: The run has no such step, or its type is not known.
        """
        if step not in self.steps:
            raise StoreError(f"{self.path} has no step {step}", f"It has: {', '.join(self.steps) or 'none yet'}.")
        return iter(self._reader.records(step, kind or self._find_type(step)))

    def frame(self, step: str, kind: type[Record] | None = None) -> pandas.DataFrame:
        """The records of a step as a data frame; the rest as for ``records`` and ``charter.frame``."""
        return frame(self.records(step, kind))

    def scores(self) -> pandas.DataFrame:
        """The held-out scores before and after, then those of benchmarks: a row for each metric.

        Returns:
            ``before`` and ``after`` are figures (shares from 0 to 1) of ``n_before`` and ``n_after`` items; ``*_low``
            and ``*_high`` are their 95 % intervals. ``change`` is on the items that were judged on both sides, with its
            95 % interval and ``p_holm`` (of held-out exact McNemar, Holm over the metrics). ``benchmark`` is empty for
            held-out. What is not known is NaN.
        """
        import pandas

        return pandas.DataFrame(list(_list_changes(self._reader)), columns=_CHANGE_COLUMNS).infer_objects()

    def score_table(self) -> pandas.DataFrame:
        """Every score of every step, as ``charter export --csv`` writes them: also gate scores by iteration, and
        held-out by category, language, source and attack style."""
        import pandas

        return pandas.DataFrame(list(list_scores(self._reader)), columns=COLUMNS)

    def explain(self, kind: QuestionKind, value: str) -> Explanation:
        """What hangs together with a ``principle``, ``row``, ``prompt`` or ``score``: failures, rows, checkpoints and
        moved scores. Raises StoreError, which names what comes near, where the run has nothing of that name."""
        return explain_item(self.path, kind, value)

    def _find_type(self, step: str) -> type[Record]:
        """By the step's seal, else by the one of a step of the same name. Raises StoreError."""
        types, name = self._graph.step_types, step.rpartition("/")[2]
        held = types.get(step) or next((x for other, x in types.items() if other.rpartition("/")[2] == name), None)
        if held is None:
            what = f"{step} is not finished, so the type of its records does not stand in the run yet"
            raise StoreError(what, "Give it as `kind`, a class of charter.records; or wait for the step's end.")
        return find_record_type(held, step)


_CHANGE_COLUMNS = (
    *("benchmark", "metric", "better", "n_before", "before", "before_low", "before_high"),
    *("n_after", "after", "after_low", "after_high", "change", "change_low", "change_high", "p_holm"),
)


def _list_changes(reading: RunReader) -> Iterator[tuple[object, ...]]:
    """A row for each metric of held-out, then of benchmarks."""
    before, after = (reading.scores(f"{step}_scores") for step in (START_STEP, FINAL_STEP))
    moved = compare_before_after(reading)
    for metric in dict.fromkeys([*before, *after]):
        pair = moved.get(metric)
        change = (pair.change, pair.low, pair.high, pair.p_holm) if pair else _UNKNOWN
        yield ("", metric, *_side_figures(before.get(metric), after.get(metric)), *change)
    for found in read_figures(reading):
        sides = _side_figures(found.before or found.measured, found.after)
        yield (found.benchmark, found.name, *sides, found.change, found.low, found.high, found.p_holm)


def _side_figures(before: Score | None, after: Score | None) -> tuple[object, ...]:
    """Which way is good, then n, value and interval of each side."""
    better = next(score.better for score in (before, after) if score)
    return (better, *(x for s in (before, after) for x in ((s.n, s.value, s.low, s.high) if s else (0, *_UNKNOWN[:3]))))


_UNKNOWN = (None, None, None, None)
