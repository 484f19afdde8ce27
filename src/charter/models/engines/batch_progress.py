"""How far a call of the local engine is: the batches that have ended, and the rows of the one at work."""

from __future__ import annotations

from collections.abc import Callable

from charter.records.chat import CallProgress


class BatchProgress:
    """Adds up what batches tell.

    Args:
        rows: those of all batches of the call.
        tell: is told how far the call is; at once that it has begun.
    """

    def __init__(self, rows: int, tell: Callable[[CallProgress], None]) -> None:
        self._rows, self._tell = rows, tell
        self._ended = self._tokens = 0
        self.watch_batch(0, 0.0, 0)

    def watch_batch(self, ended: int, parts: float, tokens: int) -> None:
        """Tells of the batch at work: its rows that have ended, what the others make in rows, and its tokens so far."""
        ended += self._ended
        self._tell(CallProgress(ended, self._rows, (ended + parts) / self._rows, self._tokens + tokens))

    def end_batch(self, rows: int, tokens: int) -> None:
        """Takes in a batch that has ended, and tells of it."""
        self._ended += rows
        self._tokens += tokens
        self.watch_batch(0, 0.0, 0)
