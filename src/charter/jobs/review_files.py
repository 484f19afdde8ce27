"""Labels leave a queue as files, and come into it from files of other programs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from charter.data.exports import review_rows
from charter.data.exports.inspect_logs import Transcripts, write_inspect_log
from charter.data.sources.review_labels import GivenLabel, read_review_labels
from charter.errors import SpecError, StoreError
from charter.jobs.review_desk import Answer, Rater, ReviewDesk
from charter.jobs.transcripts import require_new
from charter.records.record import Record
from charter.records.reviews import LabelForm, ReviewedItem, ReviewQueue
from charter.reports.label_table import labels_to_csv
from charter.reports.spreadsheet_text import unescape_formula
from charter.runs import store

ExportForm = Literal["labelled", "preferences"] | LabelForm
_LINE_ENDS = {ord(sign): f"\\u{ord(sign):04x}" for sign in "\u0085\u2028\u2029"}
"""Signs that some readers take for the end of a line."""
MAX_FAULTS = 20
"""Faults of a file that are named one by one."""


class ExportedLabels(Record):
    """What was written: ``rows`` in the file; ``left_out``: items that are not in it, by reason."""

    rows: int
    left_out: dict[str, int]


class ImportedLabels(Record):
    """What was read: labels that are new to the queue, and those that it had."""

    added: int
    known: int


def export_labels(directory: Path, queue: str, out: Path, form: ExportForm) -> ExportedLabels:
    """Writes what people said into the new file ``out``. Raises StoreError where it is there already or cannot be
    written, SpecError where the form does not fit the queue's kind, DamagedError."""
    require_new(directory, out)
    with ReviewDesk(directory, queue) as desk:
        board = desk.read_board()
        reviewed = [
            ReviewedItem(
                item=item,
                labels=tuple(board.labels[id].values()),
                settlement=board.settled.get(id),
                final=board.find_final(id),
            )
            for id, item in desk.items.items()
        ]
    writers: Mapping[str, Callable[..., int]] = {
        "labelled": _write_labelled,
        "inspect": _write_inspect,
        "csv": _write_csv,
    }
    rows = writers.get(form, _write_json)(desk.queue, reviewed, out, form)
    left_out = {"nobody has labelled": sum(not one.labels for one in reviewed)}
    if form == "labelled":
        left_out["not every rater has labelled"] = sum(
            0 < len(one.labels) < desk.queue.raters and one.final is None for one in reviewed
        )
        left_out["to be adjudicated"] = len(board.list_disputed())
    return ExportedLabels(rows=rows, left_out={reason: count for reason, count in left_out.items() if count})


def import_labels(directory: Path, queue: str, path: Path, form: LabelForm) -> ImportedLabels:
    """Takes the labels of a file into a queue: all of them, or none where one cannot be taken. Labels that the queue
    has in the same words are passed over; none is replaced. Raises SpecError with every fault and its line."""
    given, faults = read_review_labels(path, form)
    if form == "csv":
        given = [_unescape(one) for one in given]
    with ReviewDesk(directory, queue) as desk:
        board = desk.read_board()
        fresh, known = [], 0
        for one in given:
            settlement = board.settled.get(one.item)
            if settlement is not None and (settlement.by, settlement.label) == (one.rater, one.label):
                known += 1
                continue
            before = board.labels.get(one.item, {}).get(one.rater)
            if before is None:
                fresh.append(one)
            elif (before.label, before.comment, before.corrected) == (one.label, one.comment, one.corrected):
                known += 1
            else:
                faults.append(f"{one.place}: {one.rater} said something else of {one.item}, and no file replaces it")
        answers = [
            (Rater(one.rater, one.role), Answer(one.item, one.label, one.comment, one.corrected, source=one.place))
            for one in fresh
        ]
        faults += desk.check_labels(answers)
        if faults:
            more = [f"and {len(faults) - MAX_FAULTS} more"] if len(faults) > MAX_FAULTS else []
            cure = "Mend these; nothing was taken into the queue."
            raise SpecError(f"{path.name}: not every label can be taken", (*faults[:MAX_FAULTS], *more), cure)
        if not given:
            raise SpecError(f"{path.name} holds no label", cure=f"Give a file of the form {form}.")
        desk.submit_labels(answers)
    return ImportedLabels(added=len(fresh), known=known)


def _unescape(one: GivenLabel) -> GivenLabel:
    texts = {name: unescape_formula(getattr(one, name)) for name in ("rater", "role", "comment", "corrected")}
    return GivenLabel(one.place, one.item, label=one.label, **texts)


def _write_labelled(queue: ReviewQueue, reviewed: Sequence[ReviewedItem], out: Path, form: str) -> int:
    if queue.kind != "exchanges":
        raise SpecError(f"{queue.id} holds {queue.kind}, and no labelled exchanges", cure="Try --as preferences.")
    return _write_lines(out, review_rows.make_labelled_rows(queue, reviewed), form)


def _write_json(queue: ReviewQueue, reviewed: Sequence[ReviewedItem], out: Path, form: str) -> int:
    if form == "preferences":
        if queue.kind == "rules":
            raise SpecError(f"{queue.id} holds rules, and nothing to prefer", cure="Try --as csv.")
        return _write_lines(out, review_rows.make_preference_rows(queue, reviewed), form)
    make = review_rows.make_argilla_records if form == "argilla" else review_rows.make_label_studio_tasks
    rows = make(queue, reviewed)
    _write(out, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    return len(rows)


def _write_lines(out: Path, rows: Sequence[Mapping[str, Any]], form: str) -> int:
    if not rows:
        raise SpecError(f"there is nothing to write as {form} yet", cure="See how far it is: charter review status RUN")
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    _write(out, "".join(f"{line.translate(_LINE_ENDS)}\n" for line in lines))
    return len(rows)


def _write_csv(queue: ReviewQueue, reviewed: Sequence[ReviewedItem], out: Path, form: str) -> int:
    del form
    text, count = labels_to_csv(queue, reviewed)
    _write(out, text)
    return count


def _write_inspect(queue: ReviewQueue, reviewed: Sequence[ReviewedItem], out: Path, form: str) -> int:
    del form
    if out.suffix != ".eval":
        raise SpecError(f"{out.name} is no name of a log", cure="Call it NAME.eval")
    said = {one.item.id: one.labels for one in reviewed}
    first = min((label.at for labels in said.values() for label in labels), default="2000-01-01T00:00:00+00:00")
    about = {"queue": queue.id, "kind": queue.kind, "rubric": queue.rubric, "raters": queue.raters}
    exchanges = review_rows.make_exchanges(reviewed)
    transcripts = Transcripts(f"review/{queue.id}", first, exchanges, labels=said, about=about)
    new = out.with_name(f".{out.name}.new")
    with store.translate_os_errors(out, "written"):
        try:
            new.mkdir(parents=True, exist_ok=True)
            write_inspect_log(transcripts, new).replace(out)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return len(exchanges)


def _write(out: Path, text: str) -> None:
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise StoreError(f"{out} cannot be written: half a character", "Export another queue.") from error
    store.write_atomic(out, data)


EXPORT_FORMS: tuple[str, ...] = tuple(form for part in get_args(ExportForm) for form in get_args(part) or (part,))
