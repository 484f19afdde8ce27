"""One call over Inspect AI's model layer: its model, its words for a request, and what its errors mean."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Awaitable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from charter.errors import CharterError, EngineError
from charter.models.engines import replies
from charter.models.engines.refusals import Refusal
from charter.records.chat import Completion, Request, fold_system_turns

DEFAULT_KEY_ENV = "CHARTER_API_KEY"
"""The variable with the key of a server at a ``base_url``, where no other is named; many need none."""
_UNLIMITED_CONNECTIONS = 10_000
"""Inspect's own fixed limit is shared by all engines of a process that name one model; ours holds for each engine."""
_SECRET_SUFFIXES = ("_KEY", "_TOKEN", "_SECRET")
BLANKS = 16
"""Characters of white space at the end of a cut reply by which it ran into blanks."""


@dataclass(frozen=True)
class RequestStyle:
    """How a server is asked: keys of the protocol that are left out, system turns put into the user's, a stream."""

    without: frozenset[str] = frozenset()
    folded: bool = False
    streamed: bool = False


def open_model(name: str, base_url: str | None, key_env: str, timeout: int, adaptive: bool) -> Any:
    """Inspect's model. Raises EngineError where the extra, the provider or the key is missing."""
    place: dict[str, Any] = {}
    asked = name
    if key_env and not os.environ.get(key_env):
        raise EngineError(f"The model {name} needs a key, and {key_env} is not set.", f"export {key_env}=...")
    if base_url is not None:
        asked = f"openai-api/charter/{name}"
        place = {
            "base_url": base_url,
            "api_key": os.environ.get(key_env or DEFAULT_KEY_ENV) or "none",
            "max_retries": 0,
        }
    elif key_env:
        place = {"api_key": os.environ[key_env]}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from inspect_ai.model import GenerateConfig, get_model

            config = GenerateConfig(
                max_connections=None if adaptive else _UNLIMITED_CONNECTIONS,
                adaptive_connections=adaptive,
                max_retries=0,
                attempt_timeout=timeout,
            )
            model = get_model(asked, config=config, memoize=False, **place)
            _listen(model)
            return model
    except ModuleNotFoundError as error:
        raise EngineError(
            f"The model {name} needs a package that is not installed: {error.name}.",
            "pip install 'charter[remote]', and the provider's own package where it has one.",
        ) from error
    except Exception as error:  # whatever a provider raises while it is set up
        raise EngineError(
            f"The model {name} cannot be set up: {scrub_secrets(error)}",
            "Name it as provider/name, and set the provider's API key in the environment.",
        ) from error


def _listen(model: Any) -> None:
    """Has every reply of the chat protocol read by ``replies`` before the provider's client sees it."""
    client = getattr(model.api, "client", None)
    http = getattr(client, "_client", None)
    hooks = getattr(http, "event_hooks", None)
    if http is not None and isinstance(hooks, dict):
        http.event_hooks = {**hooks, "response": [*hooks.get("response", []), replies.mend_response]}


def list_parameters(request: Request, manner: RequestStyle) -> dict[str, Any]:
    """The keys of the protocol that a request is sent with, by their names there."""
    sampling = request.sampling
    wanted: dict[str, Any] = {
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
        "top_p": sampling.top_p if sampling.top_p < 1 else None,
        "frequency_penalty": sampling.frequency_penalty or None,
        "stop": list(sampling.stop) or None,
        "seed": request.seed % 2**31 if sampling.temperature > 0 else None,
        "response_format": request.response_schema,
    }
    if "max_tokens" in manner.without:
        wanted["max_completion_tokens"] = sampling.max_tokens
    return {key: value for key, value in wanted.items() if value is not None and key not in manner.without}


def call_model(model: Any, request: Request, manner: RequestStyle, likeliest: int = 0) -> Awaitable[Any]:
    """The request in Inspect's words; only what departs from a provider's defaults is sent. Inspect's own record of the
    call ends with the task that makes it. ``likeliest``: how many tokens at each place come with log-probabilities."""
    from inspect_ai.log import Transcript
    from inspect_ai.log._transcript import init_transcript
    from inspect_ai.model import (
        ChatMessageAssistant,
        ChatMessageSystem,
        ChatMessageUser,
        GenerateConfig,
        ResponseSchema,
    )
    from inspect_ai.util import JSONSchema

    init_transcript(Transcript(log_model_api=False))
    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
    sent = list_parameters(request, manner)
    schema = sent.pop("response_format", None)
    more = {"max_completion_tokens": sent.pop("max_completion_tokens")} if "max_completion_tokens" in sent else {}
    more |= {"stream": True} if manner.streamed else {}
    config = GenerateConfig(
        stop_seqs=sent.pop("stop", None),
        response_schema=ResponseSchema(name="reply", json_schema=JSONSchema.model_validate(schema)) if schema else None,
        extra_body=more or None,
        logprobs=True if likeliest else None,
        top_logprobs=likeliest or None,
        **sent,
    )
    turns = fold_system_turns(request.messages) if manner.folded else request.messages
    return model.generate([kinds[turn.role](content=turn.content) for turn in turns], config=config)  # type: ignore[no-any-return]


def to_completion(request: Request, output: Any, key: str) -> Completion:
    """Inspect's answer as a Completion; the key, should the server say it, becomes ``***``. What a server says of a
    request that it did not answer is an error, and never the answer."""
    usage = output.usage
    spent = {"tokens_in": usage.input_tokens, "tokens_out": usage.output_tokens} if usage else {}
    said = hide_key(output.completion, key)
    if output.error or (usage is None and output.stop_reason in ("model_length", "content_filter")):
        return Completion(id=request.id, text="", stop="error", error=scrub_secrets(output.error or said, key), **spent)
    if output.stop_reason == "content_filter":
        reason = "empty answer (content filter)"
        return Completion(id=request.id, text="", stop="error", error=reason, **spent)
    own, text = replies.split_thought(said.strip())
    message = output.choices[0].message if output.choices else None
    parts = [] if message is None or isinstance(message.content, str) else message.content
    thoughts = [getattr(part, "reasoning", "") or getattr(part, "summary", "") or "" for part in parts]
    thought = hide_key("\n".join(text for text in [*thoughts, own] if text).strip(), key)
    cut = output.stop_reason in ("max_tokens", "model_length")
    calls = (message.tool_calls if message is not None else None) or []
    if not text and calls and _fits(calls[0].arguments, request.response_schema):
        text = hide_key(json.dumps(calls[0].arguments, ensure_ascii=False), key)
    reasoned = bool(thought or (usage and usage.reasoning_tokens))
    return Completion(
        id=request.id,
        text=text,
        stop="length" if cut else "stop",
        thought=thought,
        empty="" if text else _emptiness(bool(calls), reasoned, cut),
        refused=any(getattr(part, "refusal", None) for part in parts),
        **spent,
    )


def _emptiness(called: bool, reasoned: bool, cut: bool) -> str:
    """Why an answer holds no text."""
    if called:
        return "a tool call"
    if reasoned:
        return "the budget went to reasoning" if cut else "reasoning alone came"
    return "the budget was spent before a word came" if cut else "nothing came"


def _fits(arguments: object, schema: Mapping[str, Any] | None) -> bool:
    """A call's arguments hold what the schema requires."""
    return (
        isinstance(arguments, dict) and schema is not None and set(schema.get("required", ["label"])) <= set(arguments)
    )


def ends_in_blanks(output: Any) -> bool:
    """A reply under a schema went on in white space, to its limit or for long."""
    text = output.completion
    blank = len(text) - len(text.rstrip())
    return blank >= 8 * BLANKS or (blank >= BLANKS and output.stop_reason in ("max_tokens", "model_length"))


def hide_key(text: str, key: str) -> str:
    """A text without the key, should the server say it."""
    return text.replace(key, "***") if key else text


def read_api_key(model: Any) -> str:
    """The key that the model is asked with; empty where it has none worth hiding."""
    key = getattr(model.api, "api_key", None)
    return key if isinstance(key, str) and len(key) >= 6 else ""


def find_root_cause(error: BaseException) -> Exception:
    """What failed in the end, without what was put around it; an error of ours that lies beneath goes first."""
    for found in _iter_causes(error):
        if isinstance(found, CharterError | replies.ReplyError):
            return found
    attempt = getattr(error, "last_attempt", None)
    inner = attempt.exception() if attempt is not None else None
    found = inner if isinstance(inner, Exception) else error
    if isinstance(getattr(found.__cause__, "status_code", None), int):
        found = found.__cause__ or found  # the client's own, which has the body and the headers
    return found if isinstance(found, Exception) else RuntimeError(str(found))


def is_lost(error: Exception) -> bool:
    """Whether the server was not there, or went away before it had answered."""
    from openai import APIConnectionError, APITimeoutError

    return isinstance(error, APIConnectionError) and not isinstance(error, APITimeoutError)


def is_timeout(error: Exception) -> bool:
    """Whether an attempt took longer than it may: the clients have classes of their own for it."""
    return any(isinstance(found, TimeoutError) or "Timeout" in type(found).__name__ for found in _iter_causes(error))


def _iter_causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and all that lies beneath it."""
    seen: set[int] = set()
    below = [error]
    while below:
        found = below.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            yield found
            below += [found.__cause__, found.__context__, *getattr(found, "exceptions", ())]


def read_retry_after(model: Any, error: Exception, refusal: Refusal) -> float | None:
    """The seconds that the server asks to wait, where it says so: as we read it, and as Inspect does."""
    found = getattr(model.api.should_retry(error), "retry_after", None)
    told = [wait for wait in (refusal.wait(), found) if wait is not None]
    return float(max(told)) if told else None


def look_up_price(name: str) -> tuple[float, float] | None:
    """The price of a million tokens read and written, where Inspect's model data hold it."""
    try:
        from inspect_ai.model import get_model_info
    except ImportError:
        return None
    info = get_model_info(name)
    cost = info.cost if info is not None else None
    return (cost.input, cost.output) if cost is not None else None


def scrub_secrets(error: object, *secrets: str) -> str:
    """An error's last words on one line, at most 300 characters, without any secret of the environment."""
    text = str(error or type(error).__name__)
    known = [value for name, value in os.environ.items() if name.upper().endswith(_SECRET_SUFFIXES)]
    for secret in (*secrets, *known):
        if len(secret) >= 6:
            text = text.replace(secret, "***")
    return " ".join(text.split())[:300]
