"""A run's answers and scores, written for other tools: logs of Inspect AI, and one table."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from charter.data.exports import inspect_logs
from charter.data.exports.inspect_logs import Transcripts
from charter.errors import StoreError
from charter.jobs.launch import collect_environment
from charter.records.item_ids import parent_id
from charter.records.measurements import Measurement, Score
from charter.records.verdicts import Verdict
from charter.reports.provenance import AnswerSet, RunGraph
from charter.reports.score_table import scores_to_csv
from charter.runs import store
from charter.runs.reader import RunReader


def write_inspect(directory: Path, out: Path) -> int:
    """Writes a log for each set of answers of a run, finished or not, into the new folder ``out``; how many. Raises
    StoreError, DamagedError; then nothing is left behind."""
    reading = RunReader(directory)
    require_new(directory, out)
    threads, new = RunGraph(reading), out.with_name(f".{out.name}.new")
    with store.translate_os_errors(out, "written"):
        try:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            written = [inspect_logs.write_inspect_log(transcripts, new) for transcripts in _build_transcripts(threads)]
            new.replace(out)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return len(written)


def write_csv(directory: Path, out: Path) -> int:
    """Writes every score of a run, finished or not, into the new file ``out``; how many. Raises StoreError."""
    reading = RunReader(directory)
    require_new(directory, out)
    text, count = scores_to_csv(reading)
    with store.translate_os_errors(out, "written"):
        out.parent.mkdir(parents=True, exist_ok=True)
    store.write_atomic(out, text.encode())
    return count


def require_new(directory: Path, out: Path) -> None:
    """Raises StoreError where ``out`` is there already, or lies in the run."""
    if out.exists() or out.is_symlink():
        raise StoreError(f"{out} is there already, and nothing is overwritten", "Choose another place.")
    if out.resolve().is_relative_to(directory.resolve()):
        raise StoreError(f"{out} is inside the run, whose files are sealed", "Choose a place outside it.")


def _build_transcripts(threads: RunGraph) -> Iterator[Transcripts]:
    reading = threads.reading
    spec = reading.spec
    about = {
        "run": reading.name,
        "head": reading.head or "not finished",
        "method": spec.method,
        "world": spec.world,
        "seed": spec.seed,
        "charter": collect_environment()["packages"]["charter"],
    }
    for answers in threads.answers:
        verdicts: dict[str, list[Verdict]] = {}
        measured: dict[str, Measurement] = {}
        for step in answers.judged_in:
            if threads.step_types[step] == "Verdict":
                for verdict in reading.records(step, Verdict):
                    verdicts.setdefault(verdict.id, []).append(verdict)
            else:
                items = {m.id: m for m in reading.records(step, Measurement)}
                of = {e.id: items.get(e.id) or items.get(parent_id(e.id)) for e in answers.exchanges}
                measured |= {id: found for id, found in of.items() if found is not None}
        scored = f"{answers.step.removesuffix('_exchanges')}_scores"
        scores = reading.records(scored, Score) if measured and scored in reading.steps else []
        yield Transcripts(
            name=answers.step,
            created=threads.sealed_at(answers.step),
            exchanges=answers.exchanges,
            verdicts=verdicts,
            measurements=measured,
            scores=scores,
            notes=_answer_notes(answers),
            about=about,
        )


def _answer_notes(answers: AnswerSet) -> dict[str, dict[str, object]]:
    return {r.id: {"critique": r.critique, "rules": list(r.principles)} for r in answers.revisions}
