"""``python -m bench.connections [ROUNDS] [--url URL --model NAME]``: requests at once to a server that queues.

Without ``--url`` the server is a stand-in in another process: each answer takes it half a second, however many are
under way. So what binds is charter's own client, which is tried with all calls through one client too. With ``--url``
it is a real server, such as vLLM. Each round asks all levels one after another, so that they share the load."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from statistics import median
from unittest.mock import patch

from bench.child_server import serve_module
from bench.page import put
from charter.models.engines.remote_engine import RemoteEngine, RemoteOptions
from charter.models.engines.replicas import CLIENT_CALLS
from charter.records.chat import Message, Request, Sampling

WHOLE = 10**6
"""More calls than there are: they all go through one client."""
LEVELS = (
    (16, CLIENT_CALLS),
    (64, CLIENT_CALLS),
    (256, CLIENT_CALLS),
    (256, WHOLE),
    (1024, CLIENT_CALLS),
    (1024, WHOLE),
)
CALLS, SECONDS = 512, 0.5
REAL_LEVELS, REAL_CALLS, REAL_TOKENS = tuple((n, CLIENT_CALLS) for n in (4, 16, 64)), 64, 16
Level = tuple[int, int]
"""Calls at once, and the most of them that go through one client."""


def main(words: Sequence[str]) -> int:
    """Measures and writes the section."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", type=int, nargs="?", default=3)
    parser.add_argument("--url", default="")
    parser.add_argument("--model", default="slow")
    asked = parser.parse_args(words)
    levels, calls = (REAL_LEVELS, REAL_CALLS) if asked.url else (LEVELS, CALLS)
    with nullcontext(asked.url) if asked.url else serve_module("bench.slow_server", str(SECONDS)) as url:
        ask_all(url, asked.model, levels[0], 4)
        found = [[ask_all(url, asked.model, level, calls) for level in levels] for _ in range(asked.rounds)]
    text = write_section(found, levels, calls, f"a server of {asked.model}" if asked.url else "a stand-in")
    put(text)
    print(text)
    return 0


def ask_all(url: str, model: str, level: Level, calls: int) -> tuple[float, float]:
    """Wall and CPU seconds of so many calls; the connection of one is open before."""

    def make(number: int) -> Request:
        turn = Message(role="user", content=f"Tell of thing number {number}, and of what it is made of.")
        return Request(id=str(number), messages=(turn,), sampling=Sampling(max_tokens=REAL_TOKENS))

    options = RemoteOptions(base_url=url, max_connections=level[0], timeout=3600)
    bound = patch("charter.models.engines.remote_engine.CLIENT_CALLS", level[1])
    with bound, closing(RemoteEngine(model, options)) as engine:
        assert not next(engine.generate([make(-1)])).error
        wall, cpu = time.monotonic(), time.process_time()
        answers = list(engine.generate([make(number) for number in range(calls)]))
        spent = time.monotonic() - wall, time.process_time() - cpu
    assert len([answer for answer in answers if not answer.error]) == calls
    return spent


def write_section(
    found: Sequence[Sequence[tuple[float, float]]], levels: Sequence[Level], calls: int, what: str
) -> str:
    """The section: calls a second against the first level's, round by round, and what a call costs the client."""
    lines = [
        f"# Requests at once to {what}",
        "",
        f"`python -m bench.connections`: {calls:,} calls at each level; rounds: {len(found)}; {os.cpu_count()} cores; "
        f"load of the machine at the end {os.getloadavg()[0]:.1f}. Median (smallest to largest) over rounds; "
        "times as fast: within a round.",
        "",
        "| at once | clients | calls a second | times as fast as the first | CPU of charter a call, ms |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for place, (level, clients) in enumerate(levels):
        walls, cpus = zip(*(row[place] for row in found), strict=True)
        rates, ratios = [calls / wall for wall in walls], [row[0][0] / row[place][0] for row in found]
        costs = [1000 * cpu / calls for cpu in cpus]
        lines.append(f"| {level:,} | {-(-level // clients)} | {spread(rates)} | {spread(ratios)} | {spread(costs)} |")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """The median, and the smallest and largest."""
    return f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
