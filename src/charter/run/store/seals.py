"""Sealed steps: what is finished, and how to tell that it is still what it was."""

from __future__ import annotations

from pathlib import Path

from charter.records.record import Record, canonical
from charter.records.step_names import is_inner_name
from charter.run.store.files import find_line_faults, find_tree_faults, is_present, read_bytes, read_lines, sha256
from charter.run.store.regular_files import Fault, FaultError, inner_path
from charter.run.store.strict_json import parse_json


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
    (None: the run stopped between writing the seal and journaling it). Raises StoreError."""
    seal, lines, faults = read_sealed_lines(directory, step, mark)
    return seal, lines, faults + (find_tree_faults(directory, step, seal.files) if seal else [])


def read_sealed_lines(directory: Path, step: str, mark: str | None) -> tuple[Seal | None, list[bytes], list[Fault]]:
    """As ``read_step``, but the files that lie beside the records are not looked at."""
    try:
        seal, faults = read_seal(directory, step, mark)
        if seal is None:
            return None, [], faults
        reading = read_lines(records_path(directory, step), directory)
    except FaultError as error:
        return None, [], [error.fault]
    if is_present(directory, f"{step}.jsonl"):
        faults += find_line_faults(f"{step}.jsonl", seal.records, reading)
    else:
        faults.append(Fault(file=f"{step}.jsonl", line=None, what="the file is missing"))
    return seal, reading.lines, faults


def read_seal(directory: Path, step: str, mark: str | None) -> tuple[Seal | None, list[Fault]]:
    """A step's seal and its faults; ``mark`` as for ``read_step``. Raises StoreError, DamagedError."""
    name = f"{step}.seal.json"
    inner_path(directory, name)
    if not is_present(directory, name):
        return None, [Fault(file=name, line=None, what="the file is missing")]
    data = read_bytes(seal_path(directory, step), directory)
    try:
        seal = Seal.model_validate(parse_json(data))
    except ValueError:
        return None, [Fault(file=name, line=1, what="not a seal")]
    faults = []
    if (mark is not None and sha256(data) != mark) or seal_bytes(seal) != data or seal.step != step:
        faults.append(Fault(file=name, line=1, what="not the seal that the journal names"))
    for file in seal.files:
        if not is_inner_name(file):
            return None, [Fault(file=name, line=1, what=f"{file!a} is a name that leads out of the run")]
    return seal, faults
