"""A model behind servers that are started for it: behind ``ports.Engine``, for what does not fit into this process.

The command is a template (vLLM, SGLang, llama.cpp, ``transformers serve``). Each server speaks the OpenAI chat protocol
on a free port of loopback. The policy is addressed by a name that holds its digest, and a server that answers under
another name too is refused, so that stale weights cannot answer. Servers end with all their descendants at ``close``,
and when this process dies. Of several, one that ends is done without, and started again before the next step.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from charter.errors import EngineError
from charter.models import processes, weights
from charter.models.engines.model_server import GRACE_SECONDS, ModelServer, ServerName, find_free_ports
from charter.models.gguf_adapters import write_gguf_adapter
from charter.models.merged_weights import merge_adapter
from charter.ports import Engine, Noting
from charter.records.chat import Completion, LogLikelihood, Request, ScoreRequest
from charter.records.model_refs import ModelRef
from charter.records.record import Record

EngineFactory = Callable[[Sequence[str], str], Engine]
"""(base urls, model name) to an engine that asks the servers there."""

Answer = TypeVar("Answer", Completion, LogLikelihood)


class ServedOptions(Record):
    """How a policy is served. ``command`` and ``start_command`` are templates with {base}, {adapter}, {adapter_gguf},
    {merged_dir}, {name}, {port} and {replica}; the second is for a model without an adapter, where the first holds
    one."""

    command: str
    start_command: str = ""
    ready_s: float = 600.0
    """Seconds until it must be ready."""
    replicas: int = 1
    """Servers at once."""
    section: str = "target."
    """What stands before the keys of a spec that errors name."""
    key_env: str = "CHARTER_API_KEY"
    """The variable with the server's key, where it asks for one."""
    remote_code: bool = False
    offline: bool = False
    """Never ask the hub for the weights."""


class ServedEngine:
    """Answers from servers of its own, started when it is first asked. ``folder`` is for their logs, their lock and
    weights made for them; the servers of one engine are at work in it at a time."""

    def __init__(self, model: ModelRef, serving: ServedOptions, folder: Path, connect: EngineFactory) -> None:
        self.model, self.options, self.folder = model, serving, folder
        self._connect = connect
        self._servers: list[ModelServer] = []
        self._commands: list[list[str]] = []
        self._ends: list[str] = []  # what became of servers that ended while others went on, a line each
        self._left_out: set[int] = set()
        self._lock: int | None = None  # a handle for servers that are started later
        self._client: Engine | None = None

    @property
    def identity(self) -> str:
        """The model's name and digest: neither the port nor the command decides who answers."""
        base = self.model.base if self.model.revision else Path(self.model.base).name
        return f"served:{base}@{self.model.digest[:16]}"

    @property
    def notes(self) -> Sequence[str]:
        """How the server that is at work is asked otherwise, a line each."""
        return (*self._ends, *(self._client.notes if isinstance(self._client, Noting) else ()))

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
        """What the servers say; an error where all of them have ended."""
        if all(request.id in done for request in requests):
            return
        remote = self._ensure_started()
        try:
            for answer in ask(remote):
                if getattr(answer, "error", "") and (ended := self._find_end()) is not None:
                    raise ended
                yield answer
        except EngineError as error:
            if (ended := self._find_end()) is not None:
                raise ended from error
            raise

    def _find_end(self) -> EngineError | None:
        """How the servers ended; None while one is at work."""
        if not self._servers or any(server.status is None for server in self._servers):
            return None
        return self._servers[0].ended_error("ended while it was asked")

    def close(self) -> None:
        """Ends the servers and all their descendants; the next call starts others."""
        remote, servers, lock = self._client, self._servers, self._lock
        self._client, self._servers, self._lock = None, [], None
        try:
            if remote is not None:
                remote.close()
        finally:
            for server in servers:
                server.stop()
            if lock is not None:
                self._remove_weights()
                os.close(lock)

    @property
    def _merged_folder(self) -> Path:
        """Where the merged model lies while it is served; its name is the one that it answers to."""
        return self.folder.resolve() / self.name

    @property
    def _adapter_file(self) -> Path:
        """Where the adapter lies as GGUF while it is served."""
        return self.folder.resolve() / f"{self.name}.gguf"

    def _remove_weights(self) -> None:
        shutil.rmtree(self._merged_folder, ignore_errors=True)
        self._adapter_file.unlink(missing_ok=True)

    def _ensure_started(self) -> Engine:
        """What asks the servers; those that ended while others went on are started again. Raises EngineError."""
        if self._client is None:
            try:
                self._client = self._start_all()
            except BaseException:
                self.close()
                raise
        elif self._find_end() is None:
            self._restart_ended()
        return self._client

    def _start_all(self) -> Engine:
        """Starts every server, and waits for all of them."""
        ports = find_free_ports(self.options.replicas)
        with self._lock_folder() as lock:
            self._lock = os.dup(lock)
            self._remove_weights()
            self._commands, address = self._build_commands(ports)
            self._left_out.clear()
            for number, port in enumerate(ports):
                self._servers.append(self._start_server(number, port, address))
        for server in self._servers:
            server.wait_until_ready(self.options.ready_s)
        return self._connect([f"{server.url}/v1" for server in self._servers], address)

    def _start_server(self, number: int, port: int, address: str) -> ModelServer:
        """One of the servers, on its port. The logs of all but the first end in their number."""
        assert self._lock is not None
        log = self.folder / (f"log-{number}" if number else "log")
        whom = ServerName(self.identity, address, self.options.key_env, self.options.section)
        return ModelServer(self._commands[number], port, log, whom, self._lock)

    def _restart_ended(self) -> None:
        """Starts again, on its port, each server that has ended. One that does not come back is left out."""
        for number, server in enumerate(self._servers):
            if server.status is None or number in self._left_out:
                continue
            ended = f"server {number} of {len(self._servers)} ended (status {server.status})"
            server.stop()
            self._servers[number] = self._start_server(number, server.port, server.whom.address)
            try:
                self._servers[number].wait_until_ready(self.options.ready_s)
                self._ends.append(f"{ended} and was started again")
            except EngineError:
                self._left_out.add(number)
                self._servers[number].stop()
                self._ends.append(f"{ended}, did not come back and is left out")

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

    def _build_commands(self, ports: Sequence[int]) -> tuple[list[list[str]], str]:
        """The words of each server's command, and the name to address. Merges or rewrites the adapter where the
        template says so."""
        template = self.options.command
        wanted = processes.command_placeholders(template)
        if self.model.adapter is None and wanted & {"adapter", "adapter_gguf"}:
            template = self.options.start_command
            wanted = processes.command_placeholders(template)
        values = self._place_weights(wanted)
        commands = [
            processes.fill_command(template, values | {"port": str(port), "replica": str(number)})
            for number, port in enumerate(ports)
        ]
        return commands, self.name if "name" in wanted else str(self._merged_folder)

    def _place_weights(self, wanted: Collection[str]) -> dict[str, str]:
        """What the placeholders of weights and name stand for; files that are made for the servers are written."""
        values = {"name": self.name}
        how = self.options.model_dump(include={"offline", "remote_code"})
        base = weights.model_folder(self.model, **how) if {"base", "adapter_gguf"} & set(wanted) else None
        if base is not None:
            values["base"] = str(base)
        if self.model.adapter is not None:
            policy = weights.verify_files(self.model)
            placed = {"adapter", "adapter_gguf"} & set(wanted) and weights.is_adapter(policy)
            if "merged_dir" not in wanted and not placed:
                raise EngineError(
                    "The server's command names no place for this policy's weights.",
                    "Give it {adapter} or {adapter_gguf} (for LoRA), or {merged_dir} (for any policy).",
                )
            values["adapter"] = str(policy.resolve())
            if "adapter_gguf" in wanted and base is not None:
                config = weights.load_config(base, remote_code=self.options.remote_code)
                values["adapter_gguf"] = str(write_gguf_adapter(policy, config, self._adapter_file))
        if "merged_dir" in wanted:
            values["merged_dir"] = str(merge_adapter(self.model, self._merged_folder, **how))
        return values
