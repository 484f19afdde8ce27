"""One server of a model: a process on a port of loopback, watched until it answers under the right name."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.errors import EngineError
from charter.models import processes

GRACE_SECONDS = 10.0
"""Seconds that a server has to end by itself."""
_POLL_SECONDS = 0.1
_REJECTED_STATUSES = (400, 401, 403, 404, 422)
"""Statuses by which a server that is ready says that it will not answer under a name."""
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class ServerName:
    """Whom a server must answer for: the engine's identity, the name to ask under, the variable with its key, and what
    stands before the keys of a spec that errors name."""

    identity: str
    address: str
    key_env: str
    section: str


class ModelServer:
    """A server at work on ``port``. ``lock`` is held until all of it has ended."""

    def __init__(self, command: Sequence[str], port: int, log: Path, whom: ServerName, lock: int) -> None:
        self.port, self.log, self.whom = port, log, whom
        self._process = processes.ManagedProcess(command, log, grace=GRACE_SECONDS, lock=lock)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Ends it and all its descendants."""
        self._process.stop()

    def wait_until_ready(self, seconds: float) -> None:
        """Waits until it answers under the model's name. Raises EngineError."""
        deadline = time.monotonic() + seconds
        seen = "nothing answers"
        while time.monotonic() < deadline:
            if self.status is not None:
                raise self.ended_error("ended before it was ready")
            seen = self._find_problem(seconds)
            if not seen and self.status is None:
                return
            time.sleep(_POLL_SECONDS)
        raise EngineError(
            f"The server of {self.whom.identity} was not ready after {seconds:g} s: {seen}. It said last:\n"
            f"{self._process.tail()}",
            f"Mend `{self.whom.section}serve`, or give it more time: `{self.whom.section}serve_ready_s`.",
        )

    def ended_error(self, how: str) -> EngineError:
        """What became of it, with its last words."""
        return EngineError(
            f"The server of {self.whom.identity} {how} (status {self.status}). It said last:\n{self._process.tail()}",
            f"Mend what it says, or the command in `{self.whom.section}serve`; its log: {self.log}",
        )

    def _find_problem(self, patience: float) -> str:
        """What is lacking until it answers under its name; nothing where it does. Raises EngineError where it never
        will, or where it would answer under another name too."""
        status, listed = self._get_json("/v1/models")
        names = [str(entry.get("id")) for entry in _model_entries(listed)]
        address = self.whom.address
        if address in names:
            return ""
        if status != 200 and self._get_json("/health")[0] != 200:
            return "nothing answers" if not status else f"it answers with status {status}"
        known = self._probe_name(address, patience)
        if known in _REJECTED_STATUSES:
            others = f", only {', '.join(names)[:300]}" if names else ""
            raise EngineError(
                f"The server of {self.whom.identity} does not know the name {address}{others} (status {known}).",
                f"Mend `{self.whom.section}serve`: pass {{name}} where the server takes a name; its log: {self.log}",
            )
        if known != 200:
            return f"it answers with status {known}"
        if self._probe_name(f"not-{Path(address).name}", patience) == 200:
            raise EngineError(
                f"The server of {self.whom.identity} answers under any name, so that stale weights could answer.",
                "Have it listed at /v1/models: pass {name} where the server takes a model's name.",
            )
        return ""

    def _probe_name(self, name: str, patience: float) -> int:
        """The status of a request for one token under a name."""
        body = {"model": name, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
        return self._get_json("/v1/chat/completions", json.dumps(body).encode(), max(1.0, patience))[0]

    def _get_json(self, path: str, data: bytes | None = None, timeout: float = 10.0) -> tuple[int, Any]:
        """Status and JSON of an answer; status 0 where there is none."""
        key = os.environ.get(self.whom.key_env)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        try:
            with _OPENER.open(urllib.request.Request(self.url + path, data, headers), timeout=timeout) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, None
        except (OSError, ValueError):
            return 0, None


def _model_entries(listed: Any) -> list[dict[str, Any]]:
    """The models of an OpenAI listing, whatever a server sent."""
    found = listed.get("data") if isinstance(listed, dict) else None
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def find_free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now, all different."""
    taken = [socket.socket() for _ in range(count)]
    try:
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in taken]
    finally:
        for one in taken:
            one.close()
