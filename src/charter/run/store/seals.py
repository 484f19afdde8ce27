"""Sealed steps: what is finished, and how to tell that it is still what it was."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from charter.records.record import Record, canonical
from charter.run.store.files import Fault, find_line_faults, find_tree_faults, read_bytes, read_lines, sha256


class Seal(Record):
    """What makes a step finished: SHA-256 of each record's line, of the whole file, of the inputs by argument name,
    of the templates and of the files beside it; ``calls`` holds planned calls by purpose and role."""

    step: str
    type: str
    count: int
    records: tuple[str, ...]
    file: str
    inputs: dict[str, str]
    templates: dict[str, str]
    calls: dict[str, dict[str, int]]
    files: dict[str, str]


def records_path(directory: Path, step: str) -> Path:
    """Where a step's records lie."""
    return directory / f"{step}.jsonl"


def seal_path(directory: Path, step: str) -> Path:
    """Where a step's seal lies."""
    return directory / f"{step}.seal.json"


def seal_bytes(seal: Seal) -> bytes:
    """A seal's one spelling on disk."""
    return canonical(seal).encode() + b"\n"


def read_step(directory: Path, step: str, mark: str | None) -> tuple[Seal | None, list[bytes], list[Fault]]:
    """A sealed step: its seal, its lines and every fault. ``mark`` is the digest of the seal that the journal holds
    (None: the run stopped between writing the seal and journaling it)."""
    name, records = f"{step}.seal.json", f"{step}.jsonl"
    if not seal_path(directory, step).exists():
        return None, [], [Fault(file=name, line=None, what="the file is missing")]
    data = read_bytes(seal_path(directory, step))
    try:
        seal = Seal.model_validate_json(data)
    except ValidationError:
        return None, [], [Fault(file=name, line=1, what="not a seal")]
    faults = []
    if (mark is not None and sha256(data) != mark) or seal_bytes(seal) != data or seal.step != step:
        faults.append(Fault(file=name, line=1, what="not the seal that the journal names"))
    reading = read_lines(records_path(directory, step))
    if records_path(directory, step).exists():
        faults += find_line_faults(records, seal.records, reading)
    else:
        faults.append(Fault(file=records, line=None, what="the file is missing"))
    return seal, reading.lines, faults + find_tree_faults(directory, step, seal.files)
