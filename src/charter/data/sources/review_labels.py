"""Labels that people gave in another program, read for a review queue: Label Studio, Argilla, Inspect AI, CSV.

A row names the item by the id that the queue gave it; an export of the queue has it in its place. Every fault is named
with its file and line, and none keeps the others from being named.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.data.sources.data_files import read_files
from charter.data.sources.data_rows import DataRow, check_characters, read_column, read_word
from charter.errors import RowError, SpecError
from charter.records.reviews import UNSURE, LabelForm

_TEXT_FIELDS = ("comment", "corrected", "role")
MAX_LOG_BYTES = 1 << 30
"""The most that a log of Inspect AI may unpack to."""
_CURE = "Mend that row; a fresh export of the queue shows the form."


@dataclass(frozen=True)
class GivenLabel:
    """A label as a file has it; ``place``: the file's name and line; ``label`` None: unsure."""

    place: str
    item: str
    rater: str
    label: str | None
    comment: str = ""
    corrected: str = ""
    role: str = ""


def read_review_labels(path: Path, form: LabelForm) -> tuple[list[GivenLabel], list[str]]:
    """The labels in a file, and what is wrong with every row that has none that can be read.

    Raises SpecError where the file as a whole cannot be read, naming the line where there is one."""
    if form == "inspect":
        return _collect(_read_inspect_rows(path), _read_sample)
    readers = {"label-studio": _read_task, "argilla": _read_argilla_record, "csv": _read_csv_row}
    return _collect(read_files(str(path), keep_faults=True), readers[form])


def _collect(
    rows: Iterator[DataRow], read: Callable[[DataRow], Sequence[GivenLabel]]
) -> tuple[list[GivenLabel], list[str]]:
    found: list[GivenLabel] = []
    faults: list[str] = []
    for row in rows:
        try:
            if row.fault is not None:
                raise row.fault
            found += read(row)
        except RowError as error:
            faults.append(error.message)
    return found, faults


def _make_label(row: DataRow, item: object, rater: object, label: object, texts: Mapping[str, object]) -> GivenLabel:
    """A label of plain words. Raises RowError where a part is no text or is missing."""
    parts = {"the item's id": item, "the rater": rater, "the label": label, **texts}
    for what, part in parts.items():
        if not isinstance(part, str):
            raise RowError(row.place, f"{what} is no text", type(part).__name__, _CURE)
        check_characters(part, row.place)
    for what in ("the item's id", "the rater", "the label"):
        if not str(parts[what]).strip():
            raise RowError(row.place, f"{what} is missing", cure=_CURE)
    word = str(label).strip()
    added = {name: str(texts.get(name, "")) for name in _TEXT_FIELDS}
    place = f"{Path(row.file).name}:{row.number}"
    return GivenLabel(place, str(item).strip(), str(rater).strip(), None if word == UNSURE else word, **added)


def _read_csv_row(row: DataRow) -> list[GivenLabel]:
    item, rater, label = (str(read_column(row, name)) for name in ("item", "rater", "label"))
    return [_make_label(row, item, rater, label, {name: read_word(row, name) for name in _TEXT_FIELDS})]


def _read_task(row: DataRow) -> list[GivenLabel]:
    """The labels of a task of Label Studio. An annotation that was cancelled is passed over."""
    data = _member(row, row.value, "data", dict)
    item = data.get("item")
    found = []
    for annotation in _member(row, row.value, "annotations", list):
        if _member(row, {"annotation": annotation}, "annotation", dict).get("was_cancelled"):
            continue
        regions = [r for r in _member(row, annotation, "result", list) if isinstance(r, dict)]
        said = [r for r in regions if r.get("type") == "choices" and r.get("from_name", "label") == "label"]
        choices = _member(row, said[0].get("value") if said else None, "choices", list)
        if len(said) != 1 or len(choices) != 1:
            raise RowError(row.place, "an annotation has not one label", f"{len(choices)} choices", _CURE)
        texts = {r.get("from_name"): r.get("value") for r in regions if r.get("type") == "textarea"}
        added = {name: _join_text(row, texts[name]) for name in _TEXT_FIELDS if name in texts}
        found.append(_make_label(row, item, _rater_name(annotation.get("completed_by")), choices[0], added))
    return found


def _rater_name(who: object) -> object:
    """Who annotated, as Label Studio tells it: a number, or an object with an e-mail address."""
    if isinstance(who, dict):
        return who.get("email") or who.get("username") or (f"user-{who['id']}" if "id" in who else "")
    return f"user-{who}" if isinstance(who, int) else who


def _join_text(row: DataRow, value: object) -> str:
    text = value.get("text") if isinstance(value, dict) else value
    parts = text if isinstance(text, list) else [text]
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) < len(parts):
        raise RowError(row.place, "a text area holds no text", cure=_CURE)
    return "\n".join(texts)


def _read_argilla_record(row: DataRow) -> list[GivenLabel]:
    """The labels of a record of Argilla: the responses to the question ``label``, with the same users' texts."""
    responses = _member(row, row.value, "responses", dict)
    names = _argilla_names(row)
    said: dict[str, dict[str, object]] = {name: {} for name in ("label", *_TEXT_FIELDS)}
    for name, given in said.items():
        for one in _member(row, {name: responses.get(name, [])}, name, list):
            user = str(_member(row, {"response": one}, "response", dict).get("user_id") or "")
            if user in given:
                raise RowError(row.place, f"a user answers `{name}` twice", user, _CURE)
            given[user] = one.get("value")
    item = row.value.get("id") or row.value.get("external_id")
    found = []
    for user, label in said["label"].items():
        texts = {name: said[name][user] for name in _TEXT_FIELDS if user in said[name]}
        found.append(_make_label(row, item, names.get(user, user), label, texts))
    return found


def _argilla_names(row: DataRow) -> dict[str, str]:
    """The names of raters by their ids, where an export of ours tells them."""
    told = (row.value.get("metadata") or {}).get("raters") if isinstance(row.value.get("metadata"), dict) else None
    if not isinstance(told, str):
        return {}
    try:
        names = json.loads(told)
    except (ValueError, RecursionError) as error:
        raise RowError(row.place, "metadata.raters is not JSON", f"{error!s:.100}", _CURE) from error
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise RowError(row.place, "metadata.raters does not name raters by their ids", cure=_CURE)
    return names


def _read_inspect_rows(path: Path) -> Iterator[DataRow]:
    """The samples of a log of Inspect AI. Raises SpecError where it is none, or Inspect AI is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from inspect_ai.log import read_eval_log
    except ModuleNotFoundError as error:
        what = f"Logs of Inspect AI need a package that is not installed: {error.name}."
        raise SpecError(what, cure="pip install 'charter[remote]'") from error
    if not path.is_file():
        raise SpecError(f"{path} cannot be read: there is no such file", cure="Give the path of a log.")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                size = sum(part.file_size for part in packed.infolist())
            if size > MAX_LOG_BYTES:
                raise ValueError(f"it unpacks to {size >> 20} MiB, and at most {MAX_LOG_BYTES >> 20} are read")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            samples = read_eval_log(str(path)).samples or []
    except Exception as error:  # the library raises whatever the file provokes
        what = f"{path} cannot be read as a log of Inspect AI: {error!s:.200}"
        raise SpecError(what, cure="Give a whole .eval or .json log.") from error
    for number, sample in enumerate(samples, 1):
        yield DataRow(str(path), number, sample)


def _read_sample(row: DataRow) -> list[GivenLabel]:
    """The scores of a sample: the scorer is the rater, its value or answer the label."""
    found = []
    for rater, score in (row.value.scores or {}).items():
        told = score.metadata or {}
        label = score.answer if score.answer is not None else score.value
        texts = {"comment": score.explanation or "", **{n: told[n] for n in ("corrected", "role") if n in told}}
        found.append(_make_label(row, str(row.value.id), rater, label, texts))
    return found


def _member(row: DataRow, value: object, name: str, kind: type[Any]) -> Any:
    """A member of an object. Raises RowError where it is missing, or of another kind."""
    found = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(found, kind):
        raise RowError(row.place, f"has no {'list' if kind is list else 'object'} `{name}`", cure=_CURE)
    return found
