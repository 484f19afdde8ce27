"""A run's answers and scores, written for other tools: logs of Inspect AI, and one table."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import charter
from charter import store
from charter.errors import StoreError
from charter.exports import inspect_logs
from charter.exports.inspect_logs import Transcripts
from charter.nouns import Measurement, Score, Verdict
from charter.reports.reading import Reading
from charter.reports.scores import as_csv
from charter.reports.threads import Answers, Threads


def write_inspect(directory: Path, out: Path) -> int:
    """Writes a log for each set of answers of a run, finished or not, into the new folder ``out``; how many. Raises
    StoreError, DamagedError; then nothing is left behind."""
    reading = Reading(directory)
    _free(directory, out)
    threads, new = Threads(reading), out.with_name(f".{out.name}.new")
    with store.translated(out, "written"):
        try:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            written = [inspect_logs.write(transcripts, new) for transcripts in _transcripts(threads)]
            new.replace(out)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return len(written)


def write_csv(directory: Path, out: Path) -> int:
    """Writes every score of a run, finished or not, into the new file ``out``; how many. Raises StoreError."""
    reading = Reading(directory)
    _free(directory, out)
    text, count = as_csv(reading)
    with store.translated(out, "written"):
        out.parent.mkdir(parents=True, exist_ok=True)
    store.write_atomic(out, text.encode())
    return count


def _free(directory: Path, out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise StoreError(f"{out} is there already, and nothing is overwritten", "Choose another place.")
    if out.resolve().is_relative_to(directory.resolve()):
        raise StoreError(f"{out} is inside the run, whose files are sealed", "Choose a place outside it.")


def _transcripts(threads: Threads) -> Iterator[Transcripts]:
    reading = threads.reading
    spec = reading.spec
    about = {
        "run": reading.name,
        "head": reading.head or "not finished",
        "method": spec.method,
        "world": spec.world,
        "seed": spec.seed,
        "charter": charter.__version__,
    }
    for answers in threads.answers:
        verdicts: dict[str, list[Verdict]] = {}
        measured: dict[str, Measurement] = {}
        for step in answers.judged:
            if threads.types[step] == "Verdict":
                for verdict in reading.records(step, Verdict):
                    verdicts.setdefault(verdict.id, []).append(verdict)
            else:
                items = {m.id: m for m in reading.records(step, Measurement)}
                of = {e.id: items.get(e.id) or items.get(_document(e.id)) for e in answers.exchanges}
                measured |= {id: found for id, found in of.items() if found is not None}
        scores = reading.records(f"{answers.step.removesuffix('_exchanges')}_scores", Score) if measured else []
        yield Transcripts(
            name=answers.step,
            created=threads.sealed_at(answers.step),
            exchanges=answers.exchanges,
            verdicts=verdicts,
            measurements=measured,
            scores=scores,
            notes=_notes(answers),
            about=about,
        )


def _document(question: str) -> str:
    """The item of a benchmark that a question belongs to, where it asks several: their ids begin with its own."""
    return question.rpartition("/")[0]


def _notes(answers: Answers) -> dict[str, dict[str, object]]:
    return {r.id: {"critique": r.critique, "rules": list(r.principles)} for r in answers.revisions}
