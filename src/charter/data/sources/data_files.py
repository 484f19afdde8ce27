"""Data files of any kind as rows: tables, JSON, plain text; compressed or not, in UTF-8, UTF-16 or UTF-32."""

from __future__ import annotations

import gzip
import io
import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from charter.data.sources.data_rows import DataRow
from charter.data.sources.json_documents import is_document, read_document, read_lines
from charter.data.sources.table_formats import read_delimited, read_parquet, read_workbook
from charter.errors import SpecError

KINDS = {
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".json": "document",
    ".csv": "table",
    ".tsv": "tabs",
    ".tab": "tabs",
    ".txt": "text",
    ".parquet": "parquet",
    ".xlsx": "workbook",
}
"""How a file is read, by the end of its name."""
NOTES = ("readme", "source", "sources", "license", "licence", "notice", "changelog", "requirements")
"""Texts of a folder that are about its data."""
PACKED = (".gz", ".zst")
HEAD = 1 << 16
"""Characters by which the form of a text is told."""
READABLE = "JSONL, JSON, CSV, TSV, TXT, Parquet and XLSX, the texts also as .gz or .zst"
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive or workbook"),
    (b"PAR1", "a Parquet file"),
    (b"\xd0\xcf\x11\xe0", "a workbook of the old kind (XLS)"),
    (b"%PDF", "a PDF"),
    (b"version https://git-lfs", "a pointer of Git LFS, and not the file itself"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
)


def list_files(path: str) -> list[Path]:
    """The file, or every data file in the folder in the order of their names. Raises SpecError."""
    given = Path(path).expanduser()
    if not given.is_dir():
        if not given.exists():
            raise SpecError(f"{given} cannot be read: there is no such file", cure="Give the path of a data file.")
        _kind(given)
        return [given]
    found = sorted(file for file in given.rglob("*") if file.is_file() and _ending(file) in KINDS)
    texts = [file for file in found if _ending(file) == ".txt"]
    beside = len(texts) < len(found)  # a text beside data is a note
    found = [file for file in found if file not in texts or not (beside or file.stem.casefold() in NOTES)]
    if not found:
        raise SpecError(f"{given} holds no {', '.join(KINDS)} file", cure="Give the file, or the folder that holds it.")
    return found


def list_unread(path: str) -> list[str]:
    """The names of the files in a folder that are not read, hidden ones left out."""
    given = Path(path).expanduser()
    read = set(list_files(path))
    files = sorted(file for file in given.rglob("*") if file.is_file() and file not in read) if given.is_dir() else []
    inner = (file.relative_to(given) for file in files)
    return [str(file) for file in inner if not any(part.startswith(".") for part in file.parts)]


def read_files(path: str, *, keep_faults: bool = False) -> Iterator[DataRow]:
    """The rows of a file, or of every data file in a folder. With ``keep_faults`` a row whose text gives no value comes
    with its fault; else the fault is raised. Raises SpecError naming what cannot be read."""
    for file in list_files(path):
        for row in _read_file(file):
            if row.fault is not None and not keep_faults:
                raise row.fault
            yield row


def _read_file(path: Path) -> Iterator[DataRow]:
    import pyarrow

    kind = _kind(path)
    try:
        if kind == "parquet":
            yield from read_parquet(path)
        elif kind == "workbook":
            yield from read_workbook(path)
        else:
            with closing(_open_text(path)) as text:
                yield from _read_text(str(path), text, kind)
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{path} cannot be read: it is no {error.encoding.upper()} text ({error.reason})", cure="Save it as UTF-8."
        ) from error
    except (OSError, EOFError, UnicodeError, pyarrow.ArrowException) as error:
        raise SpecError(f"{path} cannot be read: {error!s:.300}", cure=f"Give a whole file of {READABLE}.") from error


def _read_text(file: str, text: io.TextIOWrapper, kind: str) -> Iterator[DataRow]:
    if kind == "document":
        yield from read_document(file, text.read())
    elif kind in ("table", "tabs"):
        yield from read_delimited(file, text, "\t" if kind == "tabs" else "")
    elif kind == "text":
        yield from (DataRow(file, n, line.strip()) for n, line in enumerate(text, 1) if line.strip())
    else:
        head = list(itertools.islice(text, 2))
        if head and is_document("".join(head)[:HEAD]):
            yield from read_document(file, "".join(itertools.chain(head, text)))
        else:
            yield from read_lines(file, itertools.chain(head, text))


def _ending(path: Path) -> str:
    named = path.with_suffix("") if path.suffix.lower() in PACKED else path
    return named.suffix.lower()


def _kind(path: Path) -> str:
    ending = _ending(path)
    if ending not in KINDS:
        raise SpecError(
            f"{path}: files of the kind {ending or 'without an ending'} cannot be read",
            cure=f"What can be read: {READABLE}. Save it as one of them.",
        )
    if path.suffix.lower() in PACKED and KINDS[ending] in ("parquet", "workbook"):
        raise SpecError(f"{path}: a packed {ending} file cannot be read", cure="Unpack it first.")
    return KINDS[ending]


def _open_text(path: Path) -> io.TextIOWrapper:
    """A file's text, unpacked and decoded by what it begins with. Raises SpecError where it is no text."""
    raw: Any = path.open("rb")
    begins = raw.peek(4)[:4]
    if begins[:2] == b"\x1f\x8b":
        raw.close()
        raw = gzip.open(path)  # noqa: SIM115 (the reader of the text closes it)
    elif begins == b"\x28\xb5\x2f\xfd":
        import pyarrow

        raw.close()
        raw = pyarrow.input_stream(str(path), compression="zstd")
    elif begins and path.suffix.lower() in PACKED:
        raw.close()
        raise SpecError(f"{path} cannot be read: it is not packed as its name says", cure="Give a whole file.")
    stream = io.BufferedReader(raw)
    head = stream.peek(256)[:256]
    for mark, what in _FOREIGN:
        if head.lstrip().lower().startswith(mark.lower()):
            stream.close()
            raise SpecError(f"{path} is {what}, whatever its name says", cure=f"What can be read: {READABLE}.")
    return io.TextIOWrapper(stream, encoding=_encoding(head), newline="")


def _encoding(head: bytes) -> str:
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if head.count(b"\x00") * 3 > len(head):  # UTF-16 of mostly Latin text without a mark
        return "utf-16-le" if head[1:2] == b"\x00" else "utf-16-be"
    return "utf-8-sig"
