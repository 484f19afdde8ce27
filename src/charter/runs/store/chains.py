"""Files of chained lines: each line carries the hash of the one before, so that no line can be changed or taken out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from sys import intern
from typing import Any

from charter.records.record import canonical, digest
from charter.runs.store.regular_files import Fault
from charter.runs.store.strict_json import parse_json

Event = dict[str, Any]
FindFault = Callable[[Event], str]
"""What is wrong with the fields of a line; empty where nothing is."""

BEFORE_FIRST: Event = {"n": 0, "hash": ""}
"""What the first line of a chain goes on from."""


def chain_event(n: int, previous: str, fields: Mapping[str, Any]) -> Event:
    """The line ``n`` of a chain: its fields, the hash of the line before, and its own."""
    event = {**fields, "n": n, "previous": previous}
    return {**event, "hash": digest(event)}


def read_chain(
    file: str, lines: Iterable[bytes], find_fault: FindFault, last: Event = BEFORE_FIRST
) -> tuple[list[Event], list[Fault]]:
    """The events of whole lines of ``file`` that follow on ``last``, and every fault."""
    events, faults = [], []
    for event, wrong in iterate_chain(file, lines, find_fault, last):
        events.append(event)
        faults += wrong
    return events, faults


def iterate_chain(
    file: str, lines: Iterable[bytes], find_fault: FindFault, last: Event = BEFORE_FIRST
) -> Iterator[tuple[Event, list[Fault]]]:
    """As ``read_chain``, one event at a time, each with its faults."""
    for number, line in enumerate(lines, last["n"] + 1):
        event, reason = _parse_event(line, find_fault)
        faults = []
        if event is None:
            what = f"not a journal line{f': {reason}' if reason else ''}"
            faults.append(Fault(file=file, line=number, what=what))
            event = {"event": "", "n": last["n"] + 1, "hash": None}
        else:
            body = {key: value for key, value in event.items() if key not in ("n", "previous", "hash")}
            previous = event["previous"] if last["hash"] is None else last["hash"]
            if chain_event(last["n"] + 1, previous, body) != event:
                faults.append(Fault(file=file, line=number, what="the hash chain breaks here"))
        last = {"n": event["n"], "hash": event["hash"]}
        yield event, faults


def _parse_event(line: bytes, find_fault: FindFault) -> tuple[Event | None, str]:
    """The event of a line; None where the line is not one, or is not spelt as it is written, with the reason. Events
    are held, thousands of a long run, and say few different things: each key and each text is held once."""
    try:
        event = parse_json(line)
        if not isinstance(event, dict) or canonical(event).encode() != line:
            return None, ""
    except ValueError as error:
        return None, "" if isinstance(error, json.JSONDecodeError) else str(error)
    fault = find_fault(event)
    if fault:
        return None, fault
    return {intern(key): intern(value) if isinstance(value, str) else value for key, value in event.items()}, ""
