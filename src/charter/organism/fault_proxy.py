"""A proxy between charter and any OpenAI-compatible server that makes things go wrong on purpose, for tests.

Transport faults (the call fails, and may be made again): 429 with Retry-After, 500, no answer in time, a reset, a torn
body. Content faults (the answer comes, and is useless): a refusal, a label off the menu, JSON that cannot be read.

Whether a call goes wrong depends on the seed and on what is asked alone: for a transport fault also on how often it was
asked, for a content fault not, so that asking again does not help. Nothing of what is asked or answered is kept."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from charter.errors import EngineError

TRANSPORT_FAULTS = ("429", "500", "timeout", "reset", "torn")
CONTENT_FAULTS = ("refusal", "off the menu", "invalid JSON")
REFUSAL_TEXT = "I am sorry, but I cannot help with that."
_LABEL = re.compile(r'("label"\s*:\s*")[^"]*(")')


@dataclass(frozen=True)
class FaultRates:
    """Shares (0 to 1) of calls that go wrong. ``hang``: seconds after which a call without an answer is dropped;
    ``retry_after``: seconds that a 429 asks for."""

    transport: float = 0.0
    content: float = 0.0
    seed: int = 0
    hang: float = 5.0
    retry_after: float = 1.0

    def transport_fault(self, body: bytes, again: int) -> str | None:
        """What goes wrong on the way, the ``again``-th time (from 0) that this is asked."""
        return self._draw_fault(self.transport, TRANSPORT_FAULTS, b"%d|%d|" % (self.seed, again) + body)

    def content_fault(self, body: bytes) -> str | None:
        """What goes wrong with the answer."""
        return self._draw_fault(self.content, CONTENT_FAULTS, b"%d|content|" % self.seed + body)

    @staticmethod
    def _draw_fault(share: float, kinds: tuple[str, ...], what: bytes) -> str | None:
        chance = random.Random(hashlib.sha256(what).digest())
        return chance.choice(kinds) if chance.random() < share else None


@dataclass
class ProxyTraffic:
    """What went through: calls by what became of them ("fine" or a fault), and the answers given by what was asked (its
    SHA-256), so that a call paid twice can be told. ``down``: refuse every connection's calls with 503."""

    calls: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    down: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def repeated(self) -> int:
        """Answers that were paid for more than once."""
        return sum(self.answered.values()) - len(self.answered)


@contextmanager
def run_fault_proxy(
    upstream: str, faults: FaultRates, port: int = 0, log: Path | None = None
) -> Iterator[tuple[str, ProxyTraffic]]:
    """Serves on 127.0.0.1 until the block ends; gives its base URL and what went through. ``log``: a line of JSON for
    each call (what was asked, as a digest; how often; what became of it). Raises EngineError."""
    try:
        server = _ProxyServer(port, urlsplit(upstream), faults, log)
    except (OSError, OverflowError) as error:
        raise EngineError(f"Port {port} cannot be used: {error}.", "Choose another port, or 0 for any.") from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{urlsplit(upstream).path}", server.traffic
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _ProxyServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, upstream: SplitResult, faults: FaultRates, log: Path | None) -> None:
        self.upstream, self.faults, self.log, self.traffic = upstream, faults, log, ProxyTraffic()
        super().__init__(("127.0.0.1", port), _ProxyHandler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is no news."""


def spoil_answer(answer: bytes, fault: str) -> bytes:
    """An answer of the chat protocol whose text went wrong; what is no such answer stays as it is."""
    try:
        value = json.loads(answer)
        message = value["choices"][0]["message"]
        text = str(message["content"])
    except (ValueError, LookupError, TypeError):
        return answer
    changes: dict[str, Callable[[], str]] = {
        "refusal": lambda: REFUSAL_TEXT,
        "off the menu": lambda: _LABEL.sub(r"\1undecided\2", text) if _LABEL.search(text) else "undecided",
        "invalid JSON": lambda: text[: len(text) // 2].rstrip("}"),
    }
    message["content"] = changes[fault]()
    return json.dumps(value).encode()


class _ProxyHandler(BaseHTTPRequestHandler):
    server: _ProxyServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(*self._forward(b""))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        mark = hashlib.sha256(body).hexdigest()
        with self.server.traffic.lock:
            again = self.server.traffic.asked[mark]
            self.server.traffic.asked[mark] += 1
        fault = "down" if self.server.traffic.down else self.server.faults.transport_fault(body, again)
        if fault in ("timeout", "reset"):
            self._log_call(mark, again, fault)
            self._drop(self.server.faults.hang if fault == "timeout" else 0)
        elif fault in ("429", "500", "down"):
            self._log_call(mark, again, fault)
            more = {"Retry-After": f"{self.server.faults.retry_after:g}"} if fault == "429" else {}
            self._answer({"429": 429, "500": 500, "down": 503}[fault], _error_body(fault), more)
        else:
            self._pass_on(body, mark, again, torn=fault == "torn")

    def _pass_on(self, body: bytes, mark: str, again: int, torn: bool) -> None:
        try:
            status, answer, more = self._forward(body)
        except OSError:
            self._log_call(mark, again, "upstream")
            self._answer(502, _error_body("the server behind the proxy does not answer"), {})
            return
        spoil = self.server.faults.content_fault(body) if status == 200 else None
        if torn:
            self._log_call(mark, again, "torn")
            self._answer(status, answer, more, whole=0.5)
            return
        self._log_call(mark, again, spoil or "fine" if status == 200 else str(status))
        with self.server.traffic.lock:
            self.server.traffic.answered[mark] += status == 200
        self._answer(status, spoil_answer(answer, spoil) if spoil else answer, more)

    def _forward(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        upstream = self.server.upstream
        kind = http.client.HTTPSConnection if upstream.scheme == "https" else http.client.HTTPConnection
        connection = kind(upstream.hostname or "", upstream.port)
        kept = ("authorization", "content-type", "accept", "x-api-key")
        headers = {name: value for name, value in self.headers.items() if name.lower() in kept}
        try:
            connection.request(self.command, self.path, body or None, headers)
            found = connection.getresponse()
            asked = found.getheader("Retry-After")
            return found.status, found.read(), {"Retry-After": asked} if asked else {}
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def _answer(self, status: int, data: bytes, more: dict[str, str], whole: float = 1) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data if whole == 1 else data[: int(len(data) * whole)])
        self.close_connection = self.close_connection or whole < 1

    def _drop(self, seconds: float) -> None:
        """Ends the connection: after so long without a word, else at once, with a reset."""
        time.sleep(seconds)
        if not seconds:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _log_call(self, mark: str, again: int, what: str) -> None:
        with self.server.traffic.lock:
            self.server.traffic.calls[what] += 1
            if self.server.log is not None:
                with self.server.log.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps({"asked": mark, "again": again, "what": what}) + "\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()


def _error_body(what: str) -> bytes:
    return json.dumps({"error": {"message": f"on purpose: {what}", "type": "server_error"}}).encode()
