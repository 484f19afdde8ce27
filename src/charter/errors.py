"""Every error a user can meet. Each message says what happened and what to do.

    CharterError
    ├── SpecError          the spec (or a world file) is not valid; lists every fault at once
    │   └── RowError       a row of a data file cannot be used; names its place and the reason
    ├── StoreError         the run directory cannot be read or written
    │   ├── DamagedError   a record, seal or journal line is damaged; names file and line
    │   ├── StaleError     a sealed step was made from other inputs; the cure is `charter fork`
    │   └── LockedError    another process owns the run
    ├── EngineError        a model could not be loaded or did not answer
    │   ├── UnavailableError  a model stays away; the run is paused and can be resumed
    │   ├── UnsupportedError  a model cannot do what is asked of it, such as give log-likelihoods
    │   ├── UnprovenError     a judge does not tell what does harm from what does not
    │   └── OfflineError      something reached for the network in a run that is offline
    ├── TuningError        training could not be done or gave no usable model
    ├── BudgetError        the run's budget is spent; the run is paused and can be resumed
    ├── UndecidedError     rules wait for people; the run is paused and can be resumed
    └── OrganismError      an organism misses a behaviour it must have

Foreign exceptions are translated once, at a port.
"""

from __future__ import annotations


class CharterError(Exception):
    """Root of the tree. ``cure`` says what to do, as a sentence or a command."""

    exit_code = 1

    def __init__(self, message: str, cure: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.message}\n  {self.cure}" if self.cure else self.message


class SpecError(CharterError):
    """The spec or a world file is not valid. ``faults`` holds one line per fault."""

    exit_code = 2

    def __init__(self, message: str, faults: tuple[str, ...] = (), cure: str = "") -> None:
        super().__init__("\n".join([message, *(f"  - {fault}" for fault in faults)]), cure)
        self.faults = faults


class RowError(SpecError):
    """A row of a data file cannot be used. ``reason`` is what such rows are counted by."""

    def __init__(self, place: str, reason: str, detail: str = "", cure: str = "Mend or drop that row.") -> None:
        super().__init__(f"{place}: {reason}{f' ({detail})' if detail else ''}", cure=cure)
        self.place, self.reason = place, reason


class StoreError(CharterError):
    """The run directory cannot be read or written."""

    exit_code = 3


class DamagedError(StoreError):
    """A record, seal or journal line is damaged. The message names file and line."""


class StaleError(StoreError):
    """A sealed step was made from other inputs than the ones given now."""


class LockedError(StoreError):
    """Another process owns the run."""


class EngineError(CharterError):
    """A model could not be loaded, or did not answer."""

    exit_code = 4


class UnavailableError(EngineError):
    """A remote model stays away. The run is paused and nothing is lost: resume when the model is back."""

    exit_code = 8


class UnsupportedError(EngineError):
    """A model cannot do what is asked of it: give log-likelihoods, or go on from a raw text."""


class UnprovenError(EngineError):
    """A judge does not tell what does harm from what does not, so a run under it would show nothing."""


class OfflineError(EngineError):
    """Something reached for the network in a run that is offline."""


class TuningError(CharterError):
    """Training could not be done, or gave no usable model."""

    exit_code = 5


class BudgetError(CharterError):
    """The run's budget is spent. Nothing is lost: raise the budget and resume."""

    exit_code = 6


class UndecidedError(CharterError):
    """Rules wait for people to decide about them. Nothing is lost: decide and resume."""

    exit_code = 10


class OrganismError(CharterError):
    """An organism misses a behaviour that it must have; it is not shipped."""

    exit_code = 7
