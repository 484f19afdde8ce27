"""A small server of the chat protocol, started as a command: it says who answers, and misbehaves when it is told to.

python -S small_server.py PORT NAME [--unlisted] [--any-name] [--late-name NAME] [--dies SECONDS] [--last-words WORDS]
    ... [--pid] [--hold FILE: the third answer waits for ever, once the file is made; not where it is there]
    ... [--dies-once FILE: it ends in the midst of its third answer, once the file is made; not where it is there]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("name")
parser.add_argument("--folder", default="")
parser.add_argument("--unlisted", action="store_true")
parser.add_argument("--any-name", action="store_true")
parser.add_argument("--dies-when-asked", action="store_true")
parser.add_argument("--last-words", default="")
parser.add_argument("--pid", action="store_true")
parser.add_argument("--hold", default="")
parser.add_argument("--dies-once", default="")
asked = parser.parse_args()
if asked.last_words:
    print(asked.last_words, flush=True)
    sys.exit(3)


def make_first(path: Path) -> bool:
    """Makes a file; False where another server was first."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


answered: list[str] = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/health":
            self.send(200, {})
        elif self.path == "/v1/models" and not asked.unlisted:
            self.send(200, {"data": [{"id": asked.name}]})
        else:
            self.send(500, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body["model"] != asked.name and not asked.any_name:
            self.send(404, {"error": {"message": "no such model"}})
            return
        if asked.dies_when_asked:
            print("out of memory, says the server", flush=True)
            os._exit(1)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": self.said(body)},
            "finish_reason": "stop",
        }
        frame = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"]}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        self.send(200, {**frame, "choices": [choice], "usage": usage})

    def said(self, body: dict[str, Any]) -> str:
        if asked.hold and not Path(asked.hold).exists():
            answered.append(body["model"])
            if len(answered) == 3 and make_first(Path(asked.hold)):
                Path(asked.hold).write_text(str(os.getpid()), encoding="utf-8")
                threading.Event().wait()
        if asked.dies_once and not Path(asked.dies_once).exists():
            answered.append(body["model"])
            if len(answered) == 3 and make_first(Path(asked.dies_once)):
                os._exit(1)
        return f"{asked.name} {os.getpid() if asked.pid else body['messages'][-1]['content']}"

    def send(self, status: int, payload: dict[str, Any]) -> None:
        data = json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


ThreadingHTTPServer(("127.0.0.1", asked.port), Handler).serve_forever()
