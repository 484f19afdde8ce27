"""A loop under signals."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from charter.models.engines.call_pool import run_until_done


class HandlerError(Exception):
    """What the handler of these tests raises."""


async def raise_signal_and_wait(number: int, steps: list[str]) -> None:
    """Sends the signal to this process in the middle of a clean-up, which must come to its end."""
    try:
        steps.append("asked")
    finally:
        os.kill(os.getpid(), number)
        for _ in range(1_000):  # many places at which a signal could be handled
            pass
        steps.append("cleaned up")
    await asyncio.sleep(30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_handled_between_the_steps_of_the_loop(number: signal.Signals) -> None:
    def receive(number: int, frame: object) -> None:
        raise HandlerError

    loop, steps = asyncio.new_event_loop(), list[str]()
    before = signal.signal(number, receive)
    try:
        with pytest.raises(HandlerError):
            run_until_done(loop, raise_signal_and_wait(number, steps))
        assert signal.getsignal(number) is receive
    finally:
        signal.signal(number, before)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    assert steps == ["asked", "cleaned up"]


def test_a_waiting_loop_is_woken_and_goes_on_where_the_handler_lets_it() -> None:
    seen = []
    loop = asyncio.new_event_loop()
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    try:
        assert run_until_done(loop, asyncio.sleep(0.6, "done")) == "done"
    finally:
        timer.join()
        signal.signal(signal.SIGTERM, before)
        loop.close()
    assert seen == [signal.SIGTERM]


def test_errors_come_as_they_are() -> None:
    async def fail() -> None:
        raise ValueError("no")

    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(ValueError, match="no"):
            run_until_done(loop, fail())
    finally:
        loop.close()
