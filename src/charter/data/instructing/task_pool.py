"""What there is so far of self-instruct: the seeds, what was kept, and the texts that nothing new may be near to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from charter.data.instructing.instruction_records import Instruction
from charter.data.instructing.prompt_filters import DuplicatePool
from charter.records.record import digest


class TaskPool:
    """Grows with each round, and is built anew where a run goes on. Its ``identity`` is carried forward with what is
    taken in, and the pool of its texts is kept, so that a round costs what it brings and not what there is already."""

    def __init__(self, near: float, seeds: Sequence[Instruction], known: Sequence[Instruction] = ()) -> None:
        self.seeds, self.kept = tuple(seeds), list[Instruction]()
        self.identity = digest([near, *((one.id, one.text) for one in (*seeds, *known))])
        self._pool, self._waiting = DuplicatePool(near), [one.text for one in (*seeds, *known)]

    def add(self, found: Iterable[Instruction]) -> None:
        """Takes in what was kept."""
        new = list(found)
        self.kept += new
        self._waiting += [one.text for one in new]
        self.identity = digest([self.identity, *((one.id, one.text) for one in new)])

    @property
    def duplicate_pool(self) -> DuplicatePool:
        """The texts of all that there is, and of what is ``known`` and never shown."""
        for text in self._waiting:
            self._pool.add(text)
        self._waiting.clear()
        return self._pool
