"""Hosted and self-served models, behind ``ports.Engine``, over Inspect AI's model layer (extra ``remote``).

Keys come from the environment alone; they stand in no option, identity, answer or error. A request that the provider
refuses for good becomes an error completion. What may pass (overload, server errors, a lost connection, a torn answer)
is asked again, no sooner than the server says. A model from which nothing comes for ``give_up_after`` seconds ends the
step with UnavailableError: what was answered is kept, and the run goes on when it is back.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from charter.errors import CharterError, EngineError, UnavailableError, UnsupportedError
from charter.models.engines import completions, inspect_client
from charter.models.engines.call_pool import CallPool, CallTries, run_until_done
from charter.models.engines.inspect_client import RequestStyle
from charter.models.engines.label_requests import LIKELIEST, NO_LABELS, LabelRequest, group_labels, read_labels
from charter.models.engines.refusals import FATAL, NOT_FOUND, REFUSED, Refusal, read_refusal
from charter.models.engines.replicas import CLIENT_CALLS, Replica, Replicas
from charter.models.spared_libraries import spare_libraries
from charter.records.chat import Completion, LogLikelihood, Message, Request, Sampling, ScoreRequest
from charter.records.record import Record
from charter.spec.spec_parser import LOOPBACK

ADAPTIVE_LIMIT = 100
"""Most calls at once where Inspect's controller chooses how many (its own upper bound)."""
BLANK = "it ran into white space"
"""Why a reply under a schema holds nothing to read."""
ACCOUNT = "Nothing is lost. Top up the account; then `charter resume` goes on."
MAX_WAIT = 30.0
"""Most seconds between two attempts, where the server names no other."""
SCHEMA = "response_format"
"""The key of the protocol that holds a reply schema."""
PING_REQUEST = Request(
    id="probe", messages=(Message(role="user", content="Answer: yes"),), sampling=Sampling(max_tokens=16)
)
"""What is asked to see whether a model answers at all."""


class RemoteOptions(Record):
    """How a remote model is reached. Without ``base_url`` the model is an Inspect model string (``provider/name``);
    with it, any server that speaks the OpenAI chat protocol."""

    base_url: str | None = None
    """For example http://127.0.0.1:8000/v1."""
    more_urls: tuple[str, ...] = ()
    """Further servers of the same model, beside ``base_url``; each call goes to the least busy."""
    key_env: str = ""
    """The variable with the key; empty: the provider's usual one, or CHARTER_API_KEY for a ``base_url``."""
    max_connections: int | Literal["adaptive"] = 16
    """Calls at once to a server; adaptive: grows while all goes well, and shrinks when it says that it is too much."""
    max_retries: int = Field(default=8, ge=0)
    """So often a request is asked again; if the model answers a short question then, the request itself is at fault."""
    give_up_after: float = Field(default=600.0, ge=0)
    """Seconds without any answer after which the model counts as away."""
    timeout: int = Field(default=120, ge=1)
    """Seconds for one attempt."""
    first_wait: float = Field(default=0.5, ge=0)
    """Seconds before the second attempt; doubled each time."""
    sampling: Sampling = Sampling(max_tokens=1)
    """What goes beyond a request's own: the higher temperature and penalty, the longer limit, the lower top_p."""
    reply_schema: bool = True
    """Send reply schemas; a server that refuses them is asked without."""
    overlap: bool = True
    """It may be asked while other engines are at work."""
    offline: bool = False
    """Refuse whatever would leave this machine: only a ``base_url`` on loopback is left."""


class RemoteEngine:
    """Asks ``model`` over the network, up to ``max_connections`` requests at once. A server at a ``base_url`` may also
    go on with plain texts and weigh them, where it has ``/v1/completions``."""

    def __init__(self, model: str, options: RemoteOptions | None = None) -> None:
        self.name, self.options = model, options or RemoteOptions()
        self._replicas: Replicas | None = None
        self._key = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pools: list[CallPool] = []
        self._thread = 0  # the one whose calls are under way
        self._manner = RequestStyle(frozenset() if self.options.reply_schema else frozenset({SCHEMA}))
        self._schema_worked, self._schema_failed, self._reads_labels = False, 0, False
        self.notes: list[str] = []  # what was changed for all calls, as the server wants it
        self._not_before = 0.0
        self._down_since: float | None = None
        urls = (self.options.base_url, *self.options.more_urls)
        if self.options.offline and not all(is_loopback(url) for url in urls):
            raise EngineError(
                f"The model {model} is reached over the network, and this run is offline.",
                "Use a local engine or a base_url on 127.0.0.1, or set `offline: false`.",
            )

    @property
    def identity(self) -> str:
        """The model's name, and the server's where one is named."""
        place = urlsplit(self.options.base_url or "").netloc.rpartition("@")[2]
        return f"remote:{self.name}" + (f"@{place}" if place else "")

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        """One completion per request not in ``done``, as they arrive. Raises UnsupportedError where the server does not
        go on with plain texts, and is asked to."""
        yield from self._answer_all([r.widen(self.options.sampling) for r in requests if r.id not in done])

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        """One log-likelihood per request not in ``done``. Raises UnsupportedError where the model gives none."""
        todo = [request for request in requests if request.id not in done]
        for request in todo:
            completions.check_scorable(request, self.identity, self.options.base_url)
        yield from self._answer_all([request for request in todo if request.raw])
        for answers in self._answer_all(group_labels([request for request in todo if not request.raw])):
            yield from answers

    def _answer_all(self, todo: Sequence[Request | ScoreRequest]) -> Iterator[Any]:
        """Their answers, as they arrive."""
        if not todo:
            return
        loop = self._ensure_connected()
        pool = CallPool(deque(todo))
        self._pools.append(pool)
        self._thread = threading.get_ident()
        self._down_since = None
        try:
            with spare_libraries():  # a thousand calls make as much garbage as many full collections want
                while pool.tasks or pool.has_waiting:
                    run_until_done(loop, pool.run_calls(self._ask, self._most_calls))
                    while pool.answers:
                        yield pool.answers.popleft()
            if pool.error is not None:
                raise pool.error
        finally:
            self._pools.remove(pool)
            if pool.tasks:
                for task in pool.tasks:
                    task.cancel()
                run_until_done(loop, asyncio.gather(*pool.tasks, return_exceptions=True))

    @property
    def may_overlap(self) -> bool:
        """Whether it may be asked while other engines are at work."""
        return self.options.overlap

    def drain(self) -> None:
        """Asks for nothing more: ``generate`` yields what is under way, and ends. Any thread may call it."""
        self._tell_pools(lambda pool: pool.stopped.set())

    def abort(self) -> None:
        """``generate`` gives up what is under way, and ends. Any thread may call it."""
        self._tell_pools(CallPool.abort)

    def _tell_pools(self, tell: Callable[[CallPool], None]) -> None:
        """Tells the pools that are at work now, in the thread of their loop."""
        pools = list(self._pools)

        def tell_all() -> None:
            for pool in pools:
                tell(pool)

        loop = self._loop
        if loop is None or self._thread == threading.get_ident():
            tell_all()
        else:
            loop.call_soon_threadsafe(tell_all)

    def close(self) -> None:
        """Closes the connections; the next call opens new ones."""
        replicas, loop = self._replicas, self._loop
        self._replicas = self._loop = None
        if loop is not None and replicas is not None:
            for model in [model for server in replicas.servers for model in server.models]:
                run_until_done(loop, model.api.aclose())
            run_until_done(loop, loop.shutdown_asyncgens())
            loop.close()

    def _ensure_connected(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            options = self.options
            limit = None if options.max_connections == "adaptive" else options.max_connections
            servers = [
                Replica(
                    [
                        inspect_client.open_model(self.name, url, options.key_env, options.timeout, limit is None)
                        for _ in range(0, limit or 1, CLIENT_CALLS)
                    ],
                    url or "",
                )
                for url in (options.base_url, *options.more_urls)
            ]
            self._replicas = Replicas(servers, limit)
            self._key = inspect_client.read_api_key(servers[0].model)
            self._loop = asyncio.new_event_loop()
            self._not_before = 0.0
        return self._loop

    @property
    def _most_calls(self) -> int:
        """Most calls at once."""
        assert self._replicas is not None
        return self._replicas.most_calls or ADAPTIVE_LIMIT

    async def _ask(self, request: Request | ScoreRequest, pool: CallPool) -> None:
        """Puts the request's answer into the pool, or a loss. A stopped pool gets nothing more."""
        tries = CallTries()
        while await self._sleep_unless_stopped(0, pool):
            assert self._replicas is not None
            tries.server = await self._replicas.pick(tries.server)
            known = self._manner
            manner = replace(known, without=known.without | {SCHEMA}) if tries.plain else known
            structured = isinstance(request, Request) and SCHEMA in inspect_client.list_parameters(request, manner)
            try:
                with self._replicas.lend(tries.server) as model:
                    answer = await self._call_endpoint(model, request, manner)
            except Exception as error:  # judged once, whatever the provider's own exceptions are
                if await self._failed(inspect_client.find_root_cause(error), request, manner, tries, pool):
                    return
                continue
            self._down_since = None
            if structured and isinstance(answer, Completion) and answer.empty == BLANK:
                tries.plain, tries.blank = "blanks", answer
                continue
            self._saw(structured, tries.plain)
            pool.answers.append(tries.add_tokens(answer))
            return

    async def _failed(
        self, cause: Exception, request: Request | ScoreRequest, manner: RequestStyle, tries: CallTries, pool: CallPool
    ) -> bool:
        """What follows from a call that failed: a loss, another try, or (then True) the request's own error."""
        refusal = read_refusal(cause)
        if self._leave_alone(tries.server, cause):
            return False
        self._heed(inspect_client.read_retry_after(tries.server.model, cause, refusal))
        if (loss := self._loss(cause, request, refusal)) is not None:
            pool.fail(loss)
        elif isinstance(request, Request) and not request.raw and self._adapted(refusal, request, manner, tries):
            pass
        elif isinstance(request, LabelRequest) and refusal.status in REFUSED and not self._reads_labels:
            told = self._engine_error(cause, UnsupportedError, NO_LABELS)
            pool.fail(told)
        elif refusal.status in NOT_FOUND and not await self._is_responding(tries.server):
            pool.fail(self._engine_error(cause, EngineError, FATAL.get(refusal.status or 0, "")))
        elif refusal.status in (*REFUSED, *NOT_FOUND) or (
            tries.counted >= self.options.max_retries and await self._is_responding(tries.server)
        ):
            pool.answers.append(self._error_completion(request, cause))
            return True
        else:
            tries.counted = 0 if tries.counted >= self.options.max_retries else tries.counted + 1
            tries.failures += 1
            await self._back_off(cause, request, tries, pool)
        return False

    def _loss(self, cause: Exception, request: Request | ScoreRequest, refusal: Refusal) -> CharterError | None:
        """The error that ends the step, where no other request would fare better."""
        if isinstance(cause, CharterError):
            return cause
        if request.raw and refusal.status in completions.UNSUPPORTED_STATUSES:
            return self._engine_error(cause, UnsupportedError, completions.SCORING_HINT)
        if refusal.status == 401:
            return self._engine_error(cause, EngineError, FATAL[401])
        return self._engine_error(cause, UnavailableError, ACCOUNT) if refusal.of_account else None

    def _adapted(self, refusal: Refusal, request: Request, manner: RequestStyle, tries: CallTries) -> bool:
        """Asks otherwise from now on, where the server refuses a way of asking and not this request. What one call
        learns holds for all. A schema that may be at fault is left out of this request alone."""
        sent = inspect_client.list_parameters(request, manner)
        key = refusal.refused_key(sent)
        if SCHEMA in sent and refusal.names_schema and refusal.may_be_schema:
            key = SCHEMA
        if not manner.streamed and refusal.wants_stream():
            self._adapt(
                replace(self._manner, streamed=True), "asked for streams, as the server answers in nothing else"
            )
        elif key:
            other = " (max_completion_tokens in its place)" if key == "max_tokens" else ""
            without = replace(self._manner, without=self._manner.without | {key})
            self._adapt(without, f"asked without {key}{other}, which the server does not take")
        elif not manner.folded and any(m.role == "system" for m in request.messages) and refusal.refuses_system():
            told = "system turns stand in the user's turn, as the server's template takes none"
            self._adapt(replace(self._manner, folded=True), told)
        elif SCHEMA in sent and refusal.may_be_schema and (refusal.status in REFUSED or tries.failures):
            tries.plain = "refused" if refusal.status in REFUSED else "failed"
        else:
            return False
        return True

    def _adapt(self, manner: RequestStyle, note: str) -> None:
        if manner != self._manner:
            self._manner = manner
            self.notes.append(note)

    def _saw(self, structured: bool, plain: str) -> None:
        """An answer came, with a reply schema or without. Where schemas never worked, and calls that failed with one
        are answered without, later calls leave it out: two refusals, or a failure that came twice."""
        self._schema_worked |= structured
        self._schema_failed += {"refused": 1, "failed": 2}.get(plain, 0)
        if self._schema_failed >= 2 and not self._schema_worked:
            without = replace(self._manner, without=self._manner.without | {SCHEMA})
            self._adapt(without, "asked without reply schemas, as calls with one fail")

    def _leave_alone(self, server: Replica, cause: Exception) -> bool:
        """Whether a server went away while there are others, which are asked in its place."""
        assert self._replicas is not None
        if len(self._replicas.servers) == 1 or not inspect_client.is_lost(cause):
            return False
        left = self._replicas.leave_alone(server)
        note = f"{urlsplit(server.place).netloc} went away, and others were asked in its place"
        if left and note not in self.notes:
            self.notes.append(note)
        return left

    async def _call_endpoint(self, model: Any, request: Request | ScoreRequest, manner: RequestStyle) -> Any:
        """One call, by the endpoint that the request needs."""
        if isinstance(request, LabelRequest):
            output = await inspect_client.call_model(model, request, manner, LIKELIEST)
            answers = read_labels(request, output, self.identity)
            self._reads_labels = True
            return answers
        if isinstance(request, ScoreRequest):
            return await completions.score_text(model, request, self.options.timeout)
        if request.raw:
            if self.options.base_url is None:
                raise UnsupportedError(f"{self.identity} does not go on with plain texts", completions.SCORING_HINT)
            answer = await completions.complete_text(model, request, self.options.timeout)
            return answer.model_copy(update={"text": inspect_client.hide_key(answer.text, self._key)})
        output = await inspect_client.call_model(model, request, manner)
        found = inspect_client.to_completion(request, output, self._key)
        return found.model_copy(update={"empty": BLANK}) if inspect_client.ends_in_blanks(output) else found

    async def _is_responding(self, server: Replica) -> bool:
        """Whether a server answers at all: one short question, asked only where a request has failed too often."""
        try:
            await inspect_client.call_model(server.model, PING_REQUEST, self._manner)
        except Exception as error:
            return read_refusal(inspect_client.find_root_cause(error)).status in REFUSED
        return True

    async def _back_off(
        self, cause: Exception, request: Request | ScoreRequest, tries: CallTries, pool: CallPool
    ) -> None:
        """Waits as long as the server says, else longer each time."""
        now, options = asyncio.get_running_loop().time(), self.options
        told = inspect_client.read_retry_after(tries.server.model, cause, read_refusal(cause))
        self._down_since = now if self._down_since is None else self._down_since
        chance = random.Random(f"{request.id}|{tries.failures}").uniform(0.5, 1)
        wait = told if told is not None else min(MAX_WAIT, options.first_wait * 2 ** (tries.failures - 1)) * chance
        if now + wait - self._down_since > options.give_up_after:
            cure = "Nothing is lost. When it answers again, `charter resume` goes on."
            if inspect_client.is_timeout(cause):
                cure += (
                    f" A slow server: a call may take {options.timeout} s (timeout_s), its wait for a place included. "
                    "Give it as many connections as it has places, or begin again with a longer timeout_s."
                )
            pool.fail(self._engine_error(cause, UnavailableError, cure))
        await self._sleep_unless_stopped(wait, pool)

    def _heed(self, told: float | None) -> None:
        """Nobody asks sooner than the server says."""
        if told is not None:
            self._not_before = max(self._not_before, asyncio.get_running_loop().time() + told)

    async def _sleep_unless_stopped(self, seconds: float, pool: CallPool) -> bool:
        """Waits, also for what others were told meanwhile; False where the pool was stopped."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not pool.stopped.is_set() and (left := max(until, self._not_before) - loop.time()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(pool.stopped.wait(), left)
        return not pool.stopped.is_set()

    def _error_completion(self, request: Request | ScoreRequest, cause: Exception) -> Any:
        error = inspect_client.scrub_secrets(read_refusal(cause).words, self._key)
        if isinstance(request, LabelRequest):
            return request.fail(error)
        return Completion(id=request.id, text="", stop="error", error=error)

    def _engine_error(self, cause: Exception, kind: type[EngineError], cure: str) -> CharterError:
        if isinstance(cause, CharterError):
            return cause
        refusal = read_refusal(cause)
        said = inspect_client.scrub_secrets(
            f"{f'{refusal.status}: ' if refusal.status else ''}{refusal.words}", self._key
        )
        return kind(f"{self.identity} does not answer: {said}", cure)


def is_loopback(url: str | None) -> bool:
    """The URL names this machine."""
    return (urlsplit(url or "").hostname or "") in LOOPBACK
