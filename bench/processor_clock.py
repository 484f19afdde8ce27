"""The processor's seconds in place of the wall's: what a run takes when the machine has other work."""

from __future__ import annotations

import time
from datetime import datetime, tzinfo
from types import SimpleNamespace
from typing import Any


class ProcessorTime(datetime):
    """A clock that begins at 1970 and goes on only while this process is at work."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> ProcessorTime:
        """The processor's seconds of this process so far, as a time."""
        return cls.fromtimestamp(time.process_time(), tz)


def use_processor_time() -> None:
    """Has the journal and the ledger of this process take the processor's time. For a process that only measures."""
    from charter.runs import ledger
    from charter.runs.store import journal

    replaced: list[tuple[Any, str, Any]] = [
        (journal, "datetime", ProcessorTime),
        (ledger, "time", SimpleNamespace(monotonic=time.process_time)),
    ]
    for module, name, clock in replaced:
        setattr(module, name, clock)
