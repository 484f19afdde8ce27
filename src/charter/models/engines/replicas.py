"""Several servers of one model: which of them is asked next, and which are left alone because they went away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

LEFT_ALONE_SECONDS = 30.0
"""Seconds in which a server that went away is not asked again, while others answer."""
CLIENT_CALLS = 64
"""Calls at once of one client. For each call a client looks through all its connections, and it keeps no more than 100
of them open: four clients of 64 calls spend less than one of 256 (bench/RESULTS.md)."""


@dataclass
class Replica:
    """One server: where it is, Inspect's models of it (each a client with connections of its own), and until when it is
    left alone (by the clock of the loop)."""

    models: Sequence[Any]
    place: str
    left_until: float = 0.0
    loads: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loads = [0 for _ in self.models]

    @property
    def model(self) -> Any:
        """One of its models."""
        return self.models[0]

    @property
    def calls(self) -> int:
        """The calls that it has."""
        return sum(self.loads)


class Replicas:
    """The servers of one model, each with at most ``limit`` calls at once (None: no limit of ours)."""

    def __init__(self, servers: Sequence[Replica], limit: int | None) -> None:
        self.servers, self.limit = list(servers), limit
        self._freed = asyncio.Event()

    @property
    def most_calls(self) -> int | None:
        """Calls that all of them together take."""
        return None if self.limit is None else self.limit * len(self.servers)

    @contextmanager
    def lend(self, server: Replica) -> Iterator[Any]:
        """The model of its least busy client, for one call."""
        place = server.loads.index(min(server.loads))
        server.loads[place] += 1
        try:
            yield server.models[place]
        finally:
            server.loads[place] -= 1
            self._freed.set()

    async def pick(self, avoid: Replica | None = None) -> Replica:
        """The least busy server that is not left alone and has room; where all are left alone, the one that was left
        first. ``avoid``: the one that failed this request, which is taken only where there is no other."""
        while True:
            now = asyncio.get_running_loop().time()
            there = [server for server in self.servers if server.left_until <= now]
            there = there or [min(self.servers, key=lambda server: server.left_until)]
            others = [server for server in there if server is not avoid] or there
            found = min(others, key=lambda server: server.calls)
            if self.limit is None or found.calls < self.limit:
                return found
            self._freed.clear()
            await self._freed.wait()

    def leave_alone(self, server: Replica) -> bool:
        """Asks nothing of a server that went away, for a while. False where no other is left to ask."""
        now = asyncio.get_running_loop().time()
        others = [other for other in self.servers if other is not server and other.left_until <= now]
        if others:
            server.left_until = now + LEFT_ALONE_SECONDS
        return bool(others)
