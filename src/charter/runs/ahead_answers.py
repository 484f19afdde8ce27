"""Answers that came before their step began, on the disk until the step is sealed.

They stand under the digest of who was asked what. So what is asked otherwise later finds none of them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charter.ports import Engine, SupportsOverlap
from charter.records.chat import Completion, LogLikelihood, Request, ScoreRequest
from charter.records.record import Record, canonical, digest
from charter.runs import store


class AheadAnswer(Record):
    """A line of the file.

    Args:
        id: The digest of who was asked what.
        call: The call, as the journal names it.
        answer: What came.
    """

    id: str
    call: str
    answer: Completion | LogLikelihood


class AheadAnswers:
    """The answers to the calls of a step that came before it began.

    Args:
        directory: The run's folder.
        step: The step's path.

    Raises:
        StoreError: The file cannot be read.
        DamagedError: It holds something else.
    """

    def __init__(self, directory: Path, step: str) -> None:
        self._path, self._root = directory / store.AHEAD / f"{step}.jsonl", directory
        lines = store.LineStream(self._path, directory)
        self._known = {one.id: one for one in store.iterate_records(self._path, lines, AheadAnswer)}
        self._size = lines.size

    @property
    def calls(self) -> set[str]:
        """The calls that were answered, as the journal names them."""
        return {one.call for one in self._known.values()}

    def find(self, engine: Engine, requests: Sequence[Request | ScoreRequest]) -> dict[str, Any]:
        """The answers to those of the requests that ``engine`` has answered, by the requests' ids."""
        if not self._known:
            return {}
        keys = {request.id: _answer_key(engine, request) for request in requests}
        return {id: self._known[key].answer for id, key in keys.items() if key in self._known}

    def remove(self) -> None:
        """Takes the file away: its step is sealed."""
        with store.translate_os_errors(self._path, "removed"):
            self._path.unlink(missing_ok=True)


class AheadWriter(AheadAnswers):
    """Keeps answers as they come, in the thread that asks ahead. Another thread may tell it to end."""

    def __init__(self, directory: Path, step: str) -> None:
        super().__init__(directory, step)
        self._handle = store.open_for_append(self._path, directory)
        self._asked: SupportsOverlap | None = None
        self._ended = threading.Event()

    @property
    def is_ended(self) -> bool:
        """Whether nothing more is to be asked."""
        return self._ended.is_set()

    def watch_engine(self, engine: Engine) -> None:
        """Takes down who is asked from now on, and is to be told of the end."""
        self._asked = engine if isinstance(engine, SupportsOverlap) else None

    def keep(
        self, engine: Engine, request: Request | ScoreRequest, call: str, answer: Completion | LogLikelihood
    ) -> None:
        """Writes an answer. Raises StoreError."""
        found = AheadAnswer(id=_answer_key(engine, request), call=call, answer=answer)
        self._size = store.write_line(self._handle, self._path, self._size, canonical(found).encode())

    def end(self, at_once: bool) -> None:
        """Has the asking end: with what is under way, or ``at_once`` without it. It is told to whoever is asked by now,
        so it is said again until the asking has ended."""
        self._ended.set()
        if (asked := self._asked) is not None:
            if at_once:
                asked.abort()
            else:
                asked.drain()

    def close(self) -> None:
        """Gives the file back."""
        os.close(self._handle)


def _answer_key(engine: Engine, request: Request | ScoreRequest) -> str:
    return digest([engine.identity, request])
