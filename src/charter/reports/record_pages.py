"""A page of a step's records, of which the rest is not read."""

from __future__ import annotations

from typing import NamedTuple

from charter.errors import DamagedError, StoreError
from charter.runs import store
from charter.runs.reader import RunReader

RECORDS_A_PAGE = 20


class RecordPage(NamedTuple):
    """Lines of a step's file; ``first``: the number of the first one, from 1; ``total``: the step's records so far."""

    lines: list[str]
    first: int
    total: int


def read_page(reading: RunReader, step: str, page: int) -> RecordPage:
    """A page of a step; of a finished step its records are compared with the seal. A step without a seal is counted,
    and so read to its end.

    Args:
        reading: The run.
        step: As in ``001/exchanges``.
        page: From 1.

    Raises:
        StoreError: The run has no such step, or the step no such page.
        DamagedError: A record is not the one that was sealed.
    """
    path = store.records_path(reading.directory, step)
    if step not in reading.steps or not store.is_present(path.parent, path.name):
        cure = f"It has: {', '.join(reading.steps) or 'none yet'}"
        raise StoreError(f"{reading.directory} has no records of a step {step}", cure)
    file, seal = store.RecordFile(path, reading.directory), reading.seal(step)
    count = len(file) if seal is None else seal.count
    numbers = range(count)[(page - 1) * RECORDS_A_PAGE : page * RECORDS_A_PAGE]
    if page < 1 or (page > 1 and not numbers):
        raise StoreError(f"{step} has no page {page}", f"It has {-(-count // RECORDS_A_PAGE)} pages.")
    lines = file.read_lines(n for n in numbers if file.has_line(n))
    if seal is not None:
        sealed = store.SealedDigests(reading.directory, seal)[numbers.start : numbers.stop]
        if [store.sha256(line) for line in lines] != sealed:
            what = f"{path}, lines {numbers.start + 1} to {numbers.stop}: not the records that were sealed"
            raise DamagedError(what, store.RESTORE_CURE)
    return RecordPage([line.decode(errors="replace") for line in lines], numbers.start + 1, count)
