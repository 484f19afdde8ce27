"""A real HTTP server on loopback that speaks the OpenAI protocol, and answers as the test says."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[dict[str, Any]], dict[str, Any]]


class Listener(ThreadingHTTPServer):
    """Takes as many callers at once as there may be: a busy machine turns nobody away."""

    request_queue_size = 128


@dataclass
class Server:
    """``seen``: the bodies received, with the Authorization header under ``key`` and the time under ``at``; ``most``:
    the most at one time."""

    url: str = ""
    seen: list[dict[str, Any]] = field(default_factory=list)
    now: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def serve(reply: Reply, port: int = 0) -> Iterator[Server]:
    """Serves until the block ends, on a free port where none is named. ``reply`` gives ``text``, and may give
    ``finish``, ``headers``, ``torn`` (the share of the body that is sent), ``message`` (further keys of it), ``choice``
    (further keys beside it), ``body`` (all of the JSON) or ``raw`` (all of the body, of the ``type``), or ``status``
    with ``error``; where the body has a ``prompt``, what completes it: ``text``, ``finish``, ``logprobs`` and
    ``usage``. ``path`` of the body is where it was sent to."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"]))) | {"path": self.path}
            with state.lock:
                state.seen.append({**body, "key": self.headers.get("Authorization", ""), "at": time.monotonic()})
                state.now += 1
                state.most = max(state.most, state.now)
            answer = reply(body)
            with state.lock:
                state.now -= 1
            self._send(
                answer, answer["raw"].encode() if "raw" in answer else json.dumps(_payload(body, answer)).encode()
            )

        def _send(self, answer: dict[str, Any], data: bytes) -> None:
            whole = answer.get("torn", 1)
            self.send_response(answer.get("status", 200))
            self.send_header("Content-Type", answer.get("type", "application/json"))
            for name, value in answer.get("headers", {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data if whole == 1 else data[: int(len(data) * whole)])
            self.close_connection = whole < 1

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = Listener(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def telltale(upstream: str, heard: list[str]) -> Iterator[str]:
    """A server that passes on what another one says, and repeats the key that it was given: in every third answer, and
    in an error before every fifth. ``heard`` takes down every key; once it ends with "refuse", only refusals come."""

    def reply(body: dict[str, Any]) -> dict[str, Any]:
        key = server.seen[-1]["key"] if server.seen else ""
        refusing = "refuse" in heard
        heard.append(key)
        if refusing:
            return {"status": 401, "error": f"{key} is not welcome"}
        if len(heard) % 5 == 0:
            return {"status": 500, "error": f"{key} came too often"}
        asked = urllib.request.Request(
            f"{upstream}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked) as answer:
            text = json.load(answer)["choices"][0]["message"]["content"]
        return {"text": f"{text} You came with {key}." if len(heard) % 3 == 0 else text}

    with serve(reply) as server:
        yield server.url


def _payload(body: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    if "body" in answer:
        return dict(answer["body"])
    if "error" in answer:
        return {"error": {"message": answer["error"], "type": "invalid_request_error"}}
    text = answer.get("text", "")
    if "prompt" in body:
        choice = {"index": 0, "text": text, "finish_reason": answer.get("finish", "length")}
        choice["logprobs"] = answer.get("logprobs")
        usage = answer.get("usage")
        frame = {"id": "x", "object": "text_completion", "created": 0, "model": body["model"]}
        return {**frame, "choices": [choice], "usage": usage}
    said = sum(len(message["content"].split()) for message in body["messages"])
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **answer.get("message", {})},
        "finish_reason": answer.get("finish", "stop"),
        **answer.get("choice", {}),
    }
    usage = {"prompt_tokens": said, "completion_tokens": len(text.split())}
    usage["total_tokens"] = sum(usage.values())
    frame = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"]}
    return {**frame, "choices": [choice], "usage": usage}
