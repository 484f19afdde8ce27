"""A run while it is at work: its step and its records so far, told as server-sent events from its journal."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from charter.errors import StoreError
from charter.runs import store
from charter.studio.page_rendering import render, session_of, studio_of
from charter.studio.run_pages import find_run
from charter.studio.run_shelf import read_standing

if TYPE_CHECKING:
    from starlette.requests import Request

POLL_SECONDS = 1.0
MAX_SECONDS = 600.0
"""Then the page asks anew."""
MAX_STREAMS = 64
_PIECE = 1 << 20


@dataclass
class JournalFollower:
    """Reads what a journal gained since it was read last, without its hash chain: that is for pages and ``verify``."""

    directory: Path
    step: str = ""
    sealed: int = 0
    wanted: int | None = None
    last: str = ""
    _read: int = 0
    _rest: bytes = b""
    _counted: dict[str, tuple[int, int]] = field(default_factory=dict)

    def read_news(self) -> bool:
        """Whether there was something new. Raises StoreError, DamagedError."""
        data = _read_from(self.directory / store.JOURNAL, self.directory, self._read)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._read += len(data)
        for line in lines:
            self._take_event(json.loads(line))
        return bool(lines)

    def count_records(self) -> int:
        """Records of the step that was opened last, so far. Raises StoreError, DamagedError."""
        path = store.records_path(self.directory, self.step) if self.step else self.directory
        if not self.step or not store.is_present(path.parent, path.name):
            return 0
        if path.suffix == store.PARQUET:
            return len(store.RecordFile(path, self.directory))
        size, count = self._counted.get(self.step, (0, 0))
        data = _read_from(path, self.directory, size)
        self._counted = {self.step: (size + len(data), count + data.count(b"\n"))}
        return count + data.count(b"\n")

    def _take_event(self, event: dict[str, Any]) -> None:
        if event["event"] == "opened":
            self.step, self.wanted = event["step"], event["items"]
        elif event["event"] == "sealed":
            self.sealed += 1
        if event["event"] != "human":
            self.last = event["event"]


async def follow_run(directory: Path, patience: float = MAX_SECONDS, poll: float = POLL_SECONDS) -> AsyncIterator[str]:
    """What a run is at, whenever that changes, until it ends or ``patience`` seconds are over."""
    follower, before, left = JournalFollower(directory), "", patience
    while left > 0:
        try:
            await asyncio.to_thread(follower.read_news)
            count = await asyncio.to_thread(follower.count_records)
        except (StoreError, ValueError, KeyError):
            return
        told = json.dumps(
            {
                "event": follower.last,
                "step": follower.step,
                "records": count,
                "wanted": follower.wanted,
                "sealed": follower.sealed,
            }
        )
        yield f"data: {told}\n\n" if told != before else ": still here\n\n"
        if follower.last in ("finished", "paused", "failed", "interrupted"):
            return
        before, left = told, left - poll
        await asyncio.sleep(poll)


async def stream_events(request: Request) -> Response:
    """The events of a run."""
    session_of(request)
    _, reading = await asyncio.to_thread(find_run, request)
    state = request.app.state
    if state.streams >= MAX_STREAMS:
        raise HTTPException(503, "Too many pages follow runs.")

    async def follow() -> AsyncIterator[str]:
        state.streams += 1
        try:
            async for told in follow_run(reading.directory):
                yield told
        finally:
            state.streams -= 1

    return StreamingResponse(follow(), media_type="text/event-stream")


def show_live(request: Request) -> Response:
    """What a run is at, as a piece of its page."""
    session_of(request)
    name, reading = find_run(request)
    follower = JournalFollower(reading.directory)
    follower.read_news()
    return render(
        request,
        "live.html.j2",
        run=name,
        standing=read_standing(reading),
        follower=follower,
        records=follower.count_records(),
        process=next((p for p in studio_of(request).processes.started if p.name == name), None),
    )


def _read_from(path: Path, root: Path, start: int) -> bytes:
    with store.translate_os_errors(path, "read"), os.fdopen(store.open_regular(path, root), "rb") as stream:
        stream.seek(start)
        return stream.read()
