"""Hosted and self-served models, behind ``ports.Engine``, over Inspect AI's model layer (extra ``remote``).

Keys come from the environment alone; they stand in no option, identity or error. A request that the provider refuses
for good becomes an error completion. What may pass (overload, server errors, a lost connection) is retried; when it
lasts and nothing gets through, an EngineError ends the step, so that the run can be resumed later.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Awaitable, Collection, Coroutine, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import Field

from charter.errors import EngineError
from charter.nouns import Completion, LogLikelihood, Record, Request, ScoreRequest

T = TypeVar("T")

REFUSED = (400, 413, 422)
"""HTTP statuses that speak of one request; asking again would not help."""
FATAL = {
    401: "Set the provider's API key in the environment (for a base_url: the variable that `key_env` names).",
    403: "The key has no right to this model: check the account, or name another model.",
    404: "Check the model's name and the base_url.",
}
PATIENCE = 5
"""So many requests in a row that fail for passing reasons end the step."""

WIDE = 10_000
"""Inspect's own limit is shared by all engines of a process that name the same model; ours holds for each engine."""


class RemoteOptions(Record):
    """How a remote model is reached. Without ``base_url`` the model is an Inspect model string (``provider/name``), and
    the provider's usual variable holds the key; with it, any server that speaks the OpenAI chat protocol."""

    base_url: str | None = None
    """For example http://127.0.0.1:8000/v1."""
    key_env: str = "CHARTER_API_KEY"
    """The variable with the key of the server at ``base_url``; many self-served ones need none."""
    max_connections: int = Field(default=16, ge=1)
    max_retries: int = Field(default=5, ge=0)
    timeout: int = Field(default=120, ge=1)
    """Seconds for one attempt."""
    offline: bool = False
    """Refuse whatever would leave this machine: only a ``base_url`` on loopback is left."""


class RemoteEngine:
    """Asks ``model`` over the network, up to ``max_connections`` requests at once. It gives no log-likelihoods."""

    def __init__(self, model: str, options: RemoteOptions | None = None) -> None:
        self.name, self.options = model, options or RemoteOptions()
        self._model: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        if self.options.offline and not _on_loopback(self.options.base_url):
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
        """One completion per request not in ``done``, as they arrive."""
        todo = [request for request in requests if request.id not in done]
        if not todo:
            return
        model, loop = self._ready()
        arrived: asyncio.Queue[tuple[Request, Completion | Exception]] = asyncio.Queue()
        room = asyncio.Semaphore(self.options.max_connections)
        tasks = [loop.create_task(self._ask(model, request, room, arrived)) for request in todo]
        held, lost = [], 0
        try:
            for _ in todo:
                request, answer = _run(loop, arrived.get())
                if isinstance(answer, Completion):
                    lost = 0
                    yield answer
                    continue
                held.append((request, answer))
                lost += 1
                if _status(answer) in FATAL:
                    raise self._lost(answer) from answer
                if lost >= min(PATIENCE, len(todo)):
                    raise self._lost(answer) from answer
        finally:
            for task in tasks:
                task.cancel()
            _run(loop, asyncio.gather(*tasks, return_exceptions=True))
        for request, error in held:
            yield Completion(id=request.id, text="", stop="error", error=_scrub(error))

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        """Raises EngineError: hosted models give no log-likelihoods of a given text."""
        if any(request.id not in done for request in requests):
            raise EngineError(f"{self.identity} gives no log-likelihoods.", "Score with a local engine.")
        yield from ()

    def close(self) -> None:
        """Closes the connections; the next call opens new ones."""
        model, loop = self._model, self._loop
        self._model = self._loop = None
        if loop is not None:
            _run(loop, model.api.aclose())
            _run(loop, loop.shutdown_asyncgens())
            loop.close()

    def _ready(self) -> tuple[Any, asyncio.AbstractEventLoop]:
        if self._loop is None:
            self._model = self._open()
            self._loop = asyncio.new_event_loop()
        return self._model, self._loop

    def _open(self) -> Any:
        """Inspect's model. Raises EngineError where the extra, the provider or the key is missing."""
        options, name = self.options, self.name
        place: dict[str, Any] = {}
        if options.base_url is not None:
            name = f"openai-api/charter/{self.name}"
            place = {"base_url": options.base_url, "api_key": os.environ.get(options.key_env) or "none"}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from inspect_ai.model import GenerateConfig, get_model

                config = GenerateConfig(
                    max_connections=WIDE,
                    max_retries=options.max_retries,
                    attempt_timeout=options.timeout,
                )
                return get_model(name, config=config, memoize=False, **place)
        except ModuleNotFoundError as error:
            raise EngineError(
                f"The model {self.name} needs a package that is not installed: {error.name}.",
                "pip install 'charter[remote]', and the provider's own package where it has one.",
            ) from error
        except Exception as error:  # whatever a provider raises while it is set up
            raise EngineError(
                f"The model {self.name} cannot be set up: {_scrub(error)}",
                "Name it as provider/name, and set the provider's API key in the environment.",
            ) from error

    async def _ask(self, model: Any, request: Request, room: asyncio.Semaphore, arrived: asyncio.Queue[Any]) -> None:
        """Puts the request's completion into ``arrived``, or the exception with which it failed."""
        try:
            async with room:
                answer: Completion | Exception = _completion(request, await _call(model, request))
        except Exception as error:  # judged here, once, whatever the provider's own exceptions are
            cause = _cause(error)
            if _status(cause) in REFUSED:
                answer = Completion(id=request.id, text="", stop="error", error=_scrub(cause))
            else:
                answer = cause
        await arrived.put((request, answer))

    def _lost(self, error: Exception) -> EngineError:
        cure = FATAL.get(_status(error) or 0, "Wait until it answers again, then `charter resume`.")
        return EngineError(f"{self.identity} does not answer: {_scrub(error)}", cure)


def _run(loop: asyncio.AbstractEventLoop, work: Awaitable[T]) -> T:
    """Runs the loop until ``work`` is done; the libraries' warnings stay out of the caller's way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return loop.run_until_complete(work)


def _call(model: Any, request: Request) -> Coroutine[Any, Any, Any]:
    """The request in Inspect's words; only what departs from a provider's defaults is sent."""
    from inspect_ai.model import (
        ChatMessageAssistant,
        ChatMessageSystem,
        ChatMessageUser,
        GenerateConfig,
        ResponseSchema,
    )
    from inspect_ai.util import JSONSchema

    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
    sampling, schema = request.sampling, request.response_schema
    config = GenerateConfig(
        temperature=sampling.temperature,
        max_tokens=sampling.max_tokens,
        top_p=sampling.top_p if sampling.top_p < 1 else None,
        frequency_penalty=sampling.frequency_penalty or None,
        stop_seqs=list(sampling.stop) or None,
        seed=request.seed % 2**31 if sampling.temperature > 0 else None,
        response_schema=ResponseSchema(name="reply", json_schema=JSONSchema.model_validate(schema)) if schema else None,
    )
    turns = [kinds[message.role](content=message.content) for message in request.messages]
    return model.generate(turns, config=config)  # type: ignore[no-any-return]


def _completion(request: Request, output: Any) -> Completion:
    usage = output.usage
    spent = {"tokens_in": usage.input_tokens, "tokens_out": usage.output_tokens} if usage else {}
    if output.stop_reason == "content_filter" or output.error:
        reason = _scrub(output.error or "the provider's content filter withheld the answer")
        return Completion(id=request.id, text="", stop="error", error=reason, **spent)
    cut = output.stop_reason in ("max_tokens", "model_length")
    return Completion(id=request.id, text=output.completion.strip(), stop="length" if cut else "stop", **spent)


def _cause(error: BaseException) -> Exception:
    """What failed in the end, without the retrying around it."""
    attempt = getattr(error, "last_attempt", None)
    inner = attempt.exception() if attempt is not None else None
    found = inner if isinstance(inner, Exception) else error
    return found if isinstance(found, Exception) else RuntimeError(str(found))


def _status(error: BaseException) -> int | None:
    """The HTTP status that an exception of a provider's client carries."""
    found = getattr(error, "status_code", None)
    return found if isinstance(found, int) else None


def _scrub(error: object) -> str:
    """An error's last words on one line, at most 300 characters, without any secret of the environment."""
    text = str(getattr(error, "provider_message", None) or error or type(error).__name__)
    for name, value in os.environ.items():
        if value and len(value) >= 6 and name.upper().endswith(("_KEY", "_TOKEN", "_SECRET")):
            text = text.replace(value, "***")
    return " ".join(text.split())[:300]


def _on_loopback(url: str | None) -> bool:
    return (urlsplit(url or "").hostname or "") in ("localhost", "127.0.0.1", "::1")
