"""The clock of the benches: it stands while the process waits."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from bench.processor_clock import ProcessorTime


def test_the_clock_stands_while_the_process_waits_and_goes_on_while_it_works() -> None:
    first = ProcessorTime.now(UTC)
    time.sleep(0.2)
    second = ProcessorTime.now(UTC)
    assert second - first < timedelta(seconds=0.1)
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert ProcessorTime.now(UTC) - second >= timedelta(seconds=0.049)
    assert datetime.fromisoformat(second.isoformat(timespec="milliseconds")).tzinfo is not None
