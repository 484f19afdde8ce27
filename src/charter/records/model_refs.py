"""References to models: a base model with an adapter and their digests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from charter.records.record import Record
from charter.records.step_names import is_inner_name


def _check_adapter(path: str) -> str:
    if "\0" in path or not (Path(path).is_absolute() or is_inner_name(path)):
        raise ValueError("a name that leads out of the run")
    return path


class TrainLogEntry(Record):
    """What was seen in training at an optimiser step, by name (loss, kl, reward, length, margin ...)."""

    step: int
    figures: dict[str, float]


class ModelRef(Record):
    """A base model (folder or hub id, with its revision and weight digest) and an optional adapter. One that is only
    reached by HTTP has no ``base_digest``: its identity is not verifiable. ``adapter`` is a path relative to the run
    directory where charter made it, and never leads out of it; ``digest`` names the whole; ``files``: SHA-256 of each
    file of the adapter or checkpoint. ``left_out``: training rows that were not used, by id, with the reason;
    ``notes``: what else is to be known of the training; ``curve``: what was watched in it."""

    base: str
    base_digest: str
    revision: str = ""
    adapter: Annotated[str, AfterValidator(_check_adapter)] | None = None
    digest: str
    files: dict[str, str] = Field(default_factory=dict)
    left_out: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    curve: tuple[TrainLogEntry, ...] = ()

    def at_root(self, root: Path) -> ModelRef:
        """The same model with the whole path of its adapter: one of a run lies under ``root``, the run's folder."""
        return self if self.adapter is None else self.under(str(root / self.adapter))

    def under(self, path: str) -> ModelRef:
        """The same model with its adapter at ``path``: a step's, relative to the run's folder, or a whole one."""
        return self.model_copy(update={"adapter": path})
