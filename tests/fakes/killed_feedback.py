"""A feedback service that is really killed while many clients send: what was acknowledged must be there, once.

python -m tests.fakes.killed_feedback STORE POSTS CLIENTS      prints a JSON object
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from charter.jobs.feedback_intake import open_feedback_store
from charter.records.feedback import feedback_id

KEY = "a key of twenty characters and more"
PATIENCE = 1800.0


@contextmanager
def serve(store: str, port: int = 0, rate: int = 10_000_000) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command at work: its process, and its port."""
    words = ["feedback", "serve", "--port", str(port), "--rate", str(rate)]
    own = {"CHARTER_FEEDBACK_STORE": store, "CHARTER_FEEDBACK_KEY": KEY, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "charter.cli", *words], stdout=subprocess.PIPE, text=True, env={**os.environ, **own}
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        yield process, int(line.rsplit(":", 1)[1].partition("/")[0])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def make_row(number: int) -> dict[str, Any]:
    """A row of its own words, with an address to mask."""
    return {
        "id": f"row-{number}",
        "kind": "thumbs",
        "thumbs": "down" if number % 2 else "up",
        "prompt": f"question {number} of ann{number}@example.com?",
        "answer": f"answer {number}",
        "consent": "improve",
    }


class Clients:
    """Clients that send until every row was acknowledged, whatever becomes of the server."""

    def __init__(self, port: int, posts: int, count: int) -> None:
        self.port, self.left, self.acknowledged = port, list(range(posts))[::-1], dict[int, str]()
        self.statuses, self.mutex, self.until = Counter[int](), threading.Lock(), time.monotonic() + PATIENCE
        self.threads = [threading.Thread(target=self._work) for _ in range(count)]

    def _work(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while time.monotonic() < self.until:
            with self.mutex:
                if not self.left:
                    break
                number = self.left.pop()
            status, told = self._send(connection, number)
            with self.mutex:
                self.statuses[status] += 1
                if status in (200, 201):
                    self.acknowledged[number] = told["id"]
                else:
                    self.left.append(number)
        connection.close()

    def _send(self, connection: http.client.HTTPConnection, number: int) -> tuple[int, Any]:
        """Status and body; status 0 where nothing came back."""
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        try:
            connection.request("POST", "/api/feedback", json.dumps(make_row(number)), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            connection.close()
            time.sleep(0.25)
            return 0, {}


def kill_in_the_middle(store: str, posts: int, count: int) -> dict[str, Any]:
    """Kills the service once half of the rows were acknowledged, looks into the store, and lets it go on."""
    port = _free_port()
    clients = Clients(port, posts, count)
    with serve(store, port) as (process, _):
        began = time.monotonic()
        for thread in clients.threads:
            thread.start()
        while len(clients.acknowledged) < posts // 2 and time.monotonic() < clients.until:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        killed = process.wait() == -signal.SIGKILL
        with clients.mutex:
            before = dict(clients.acknowledged)
    lost = len(set(before.values()) - set(_read_ids(store)))
    with serve(store, port):
        for thread in clients.threads:
            thread.join()
    seconds = time.monotonic() - began
    ids = _read_ids(store)
    expected = {feedback_id("environment", make_row(number)["id"]) for number in range(posts)}
    return {
        "posts": posts,
        "clients": count,
        "killed": killed,
        "acknowledged before the kill": len(before),
        "lost": lost + len(set(clients.acknowledged.values()) - set(ids)),
        "acknowledged": len(clients.acknowledged),
        "sent again and known": clients.statuses[200],
        "without an answer": clients.statuses[0],
        "rows": len(ids),
        "twice": len(ids) - len(set(ids)),
        "foreign": len(set(ids) - expected),
        "seconds": round(seconds, 1),
    }


def _read_ids(store: str) -> list[str]:
    with open_feedback_store(store) as rows:
        return [row.id for row in rows.read_rows()]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    place, posts, count = sys.argv[1:]
    print(json.dumps(kill_in_the_middle(place, int(posts), int(count))))
