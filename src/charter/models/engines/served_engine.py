"""A model behind a server that is started for it: behind ``ports.Engine``, for what does not fit into this process.

The server is a command template (vLLM, SGLang, llama.cpp, ``transformers serve``); it speaks the OpenAI chat protocol
on a free port of loopback. The policy is addressed by a name that holds its digest, and a server that answers under
another name too is refused, so that stale weights cannot answer. The server ends with all its descendants at
``close``, and when this process dies.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from charter.errors import EngineError
from charter.models import processes, weights
from charter.models.merged_weights import merge_adapter
from charter.ports import Engine, Noting
from charter.records.chat import Completion, LogLikelihood, Request, ScoreRequest
from charter.records.model_refs import ModelRef
from charter.records.record import Record

EngineFactory = Callable[[str, str], Engine]
"""(base url, model name) to an engine that asks a server there."""

Answer = TypeVar("Answer", Completion, LogLikelihood)

GRACE_SECONDS = 10.0
"""Seconds that a server has to end by itself."""
_POLL_SECONDS = 0.1
_REJECTED_STATUSES = (400, 401, 403, 404, 422)
"""Statuses by which a server that is ready says that it will not answer under a name."""
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServedOptions(Record):
    """How a policy is served. ``command`` and ``start_command`` are templates with {base}, {adapter}, {merged_dir},
    {name} and {port}; the second is for a model without an adapter, where the first holds {adapter}."""

    command: str
    start_command: str = ""
    ready_s: float = 600.0
    """Seconds until it must be ready."""
    section: str = "target."
    """What stands before the keys of a spec that errors name."""
    key_env: str = "CHARTER_API_KEY"
    """The variable with the server's key, where it asks for one."""
    remote_code: bool = False
    offline: bool = False
    """Never ask the hub for the weights."""


class ServedEngine:
    """Answers from a server of its own, started when it is first asked. ``folder`` is for the server's log, its lock
    and a merged model; one server is at work in it at a time."""

    def __init__(self, model: ModelRef, serving: ServedOptions, folder: Path, connect: EngineFactory) -> None:
        self.model, self.options, self.folder = model, serving, folder
        self._connect = connect
        self._process: processes.ManagedProcess | None = None
        self._client: Engine | None = None

    @property
    def identity(self) -> str:
        """The model's name and digest: neither the port nor the command decides who answers."""
        base = self.model.base if self.model.revision else Path(self.model.base).name
        return f"served:{base}@{self.model.digest[:16]}"

    @property
    def notes(self) -> Sequence[str]:
        """How the server that is at work is asked otherwise, a line each."""
        return self._client.notes if isinstance(self._client, Noting) else ()

    @property
    def name(self) -> str:
        """The name under which the server must know the policy."""
        return f"charter-{self.model.digest[:16]}"

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        """One completion per request not in ``done``, as they arrive."""
        yield from self._ask_server(requests, done, lambda remote: remote.generate(requests, done))

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        """One log-likelihood per request not in ``done``, where the server gives them. Raises UnsupportedError."""
        yield from self._ask_server(requests, done, lambda remote: remote.score(requests, done))

    def _ask_server(
        self,
        requests: Sequence[Request | ScoreRequest],
        done: Collection[str],
        ask: Callable[[Engine], Iterator[Answer]],
    ) -> Iterator[Answer]:
        """What the server says; an error where it has ended."""
        if all(request.id in done for request in requests):
            return
        remote = self._ensure_started()
        try:
            for answer in ask(remote):
                if getattr(answer, "error", "") and self._process is not None and self._process.poll() is not None:
                    raise self._ended_error("ended while it was asked")
                yield answer
        except EngineError as error:
            if self._process is not None and self._process.poll() is not None:
                raise self._ended_error("ended while it was asked") from error
            raise

    def close(self) -> None:
        """Ends the server and all its descendants; the next call starts another."""
        remote, child = self._client, self._process
        self._client = self._process = None
        try:
            if remote is not None:
                remote.close()
        finally:
            if child is not None:
                child.stop()
                self._remove_merged()

    @property
    def _merged_folder(self) -> Path:
        """Where the merged model lies while it is served; its name is the one that it answers to."""
        return self.folder.resolve() / self.name

    def _remove_merged(self) -> None:
        shutil.rmtree(self._merged_folder, ignore_errors=True)

    def _ensure_started(self) -> Engine:
        """What asks the running server. Raises EngineError."""
        if self._client is None:
            port = _free_port()
            with self._lock_folder() as lock:
                self._remove_merged()
                command, address = self._build_command(port)
                self._process = processes.ManagedProcess(command, self.folder / "log", grace=GRACE_SECONDS, lock=lock)
            try:
                url = f"http://127.0.0.1:{port}"
                self._wait_until_ready(url, address)
                self._client = self._connect(f"{url}/v1", address)
            except BaseException:
                self.close()
                raise
        return self._client

    @contextmanager
    def _lock_folder(self) -> Iterator[int]:
        """Waits until the server of a process that died is gone, with the memory that it held."""
        try:
            with processes.exclusive_lock(self.folder / "lock", 3 * GRACE_SECONDS) as lock:
                yield lock
        except TimeoutError as error:
            raise EngineError(
                f"Another server of this run is still at work ({self.folder}).", "End it, then `charter resume`."
            ) from error

    def _build_command(self, port: int) -> tuple[list[str], str]:
        """The words of the command, and the name to address. Merges the adapter where the template says so."""
        template = self.options.command
        if self.model.adapter is None and "adapter" in processes.command_placeholders(template):
            template = self.options.start_command
        wanted = processes.command_placeholders(template)
        values = {"port": str(port), "name": self.name}
        how = self.options.model_dump(include={"offline", "remote_code"})
        if "base" in wanted:
            values["base"] = str(weights.model_folder(self.model, **how))
        if self.model.adapter is not None:
            policy = weights.verify_files(self.model)
            if "merged_dir" not in wanted and not ("adapter" in wanted and weights.is_adapter(policy)):
                raise EngineError(
                    "The server's command names no place for this policy's weights.",
                    "Give it {adapter} (for LoRA) or {merged_dir} (for any policy).",
                )
            values["adapter"] = str(policy.resolve())
        if "merged_dir" in wanted:
            values["merged_dir"] = str(merge_adapter(self.model, self._merged_folder, **how))
        return processes.fill_command(template, values), self.name if "name" in wanted else str(self._merged_folder)

    def _wait_until_ready(self, url: str, address: str) -> None:
        """Waits until the server answers under the policy's name. Raises EngineError."""
        assert self._process is not None
        deadline = time.monotonic() + self.options.ready_s
        seen = "nothing answers"
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise self._ended_error("ended before it was ready")
            seen = self._find_problem(url, address)
            if not seen and self._process.poll() is None:
                return
            time.sleep(_POLL_SECONDS)
        raise EngineError(
            f"The server of {self.identity} was not ready after {self.options.ready_s:g} s: {seen}. It said last:\n"
            f"{self._process.tail()}",
            f"Mend `{self.options.section}serve`, or give it more time: `{self.options.section}serve_ready_s`.",
        )

    def _find_problem(self, url: str, address: str) -> str:
        """What is lacking until the policy answers under its name; nothing where it does. Raises EngineError where it
        never will, or where the server would answer under another name too."""
        status, listed = self._get_json(f"{url}/v1/models")
        names = [str(entry.get("id")) for entry in _model_entries(listed)]
        if address in names:
            return ""
        if status != 200 and self._get_json(f"{url}/health")[0] != 200:
            return "nothing answers" if not status else f"it answers with status {status}"
        other = f"not-{self.name}"
        known = self._probe_name(url, address)
        if known in _REJECTED_STATUSES:
            others = f", only {', '.join(names)[:300]}" if names else ""
            raise EngineError(
                f"The server of {self.identity} does not know the name {address}{others} (status {known}).",
                f"Mend `{self.options.section}serve`: pass {{name}} where the server takes a name; its log: "
                f"{self.folder / 'log'}",
            )
        if known != 200:
            return f"it answers with status {known}"
        if self._probe_name(url, other) == 200:
            raise EngineError(
                f"The server of {self.identity} answers under any name, so that stale weights could answer.",
                "Have it listed at /v1/models: pass {name} where the server takes a model's name.",
            )
        return ""

    def _probe_name(self, url: str, name: str) -> int:
        """The status of a request for one token under a name."""
        body = {"model": name, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
        left = max(1.0, self.options.ready_s)
        return self._get_json(f"{url}/v1/chat/completions", json.dumps(body).encode(), left)[0]

    def _get_json(self, url: str, data: bytes | None = None, timeout: float = 10.0) -> tuple[int, Any]:
        """Status and JSON of an answer; status 0 where there is none."""
        key = os.environ.get(self.options.key_env)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        try:
            with _OPENER.open(urllib.request.Request(url, data, headers), timeout=timeout) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, None
        except (OSError, ValueError):
            return 0, None

    def _ended_error(self, how: str) -> EngineError:
        assert self._process is not None
        return EngineError(
            f"The server of {self.identity} {how} (status {self._process.poll()}). "
            f"It said last:\n{self._process.tail()}",
            f"Mend what it says, or the command in `{self.options.section}serve`; its log: {self.folder / 'log'}",
        )


def _model_entries(listed: Any) -> list[dict[str, Any]]:
    """The models of an OpenAI listing, whatever a server sent."""
    found = listed.get("data") if isinstance(listed, dict) else None
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
