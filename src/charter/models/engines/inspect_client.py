"""One call over Inspect AI's model layer: its model, its words for a request, and what its errors mean."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Awaitable, Iterator
from typing import Any

from charter.errors import CharterError, EngineError
from charter.records.chat import Completion, Request

REJECTED_STATUSES = (400, 413, 422)
"""HTTP statuses that speak of one request; asking again would not help."""
FATAL_STATUS_HINTS = {
    401: "Set the provider's API key in the environment (for a base_url: the variable that `key_env` names).",
    403: "The key has no right to this model: check the account, or name another model.",
    404: "Check the model's name and the base_url.",
}
DEFAULT_KEY_ENV = "CHARTER_API_KEY"
"""The variable with the key of a server at a ``base_url``, where no other is named; many need none."""
_UNLIMITED_CONNECTIONS = 10_000
"""Inspect's own fixed limit is shared by all engines of a process that name one model; ours holds for each engine."""
_SECRET_SUFFIXES = ("_KEY", "_TOKEN", "_SECRET")
_SCHEMA_PATTERN = re.compile(r"response_format|json_schema|structured|schema", re.IGNORECASE)


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
            return get_model(asked, config=config, memoize=False, **place)
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


def call_model(model: Any, request: Request, structured: bool) -> Awaitable[Any]:
    """The request in Inspect's words; only what departs from a provider's defaults is sent. Inspect's own record of the
    call ends with the task that makes it."""
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
    sampling, schema = request.sampling, request.response_schema if structured else None
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


def to_completion(request: Request, output: Any, key: str) -> Completion:
    """Inspect's answer as a Completion; the key, should the server say it, becomes ``***``."""
    usage = output.usage
    spent = {"tokens_in": usage.input_tokens, "tokens_out": usage.output_tokens} if usage else {}
    if output.stop_reason == "content_filter" or output.error:
        reason = scrub_secrets(output.error or "the provider's content filter withheld the answer", key)
        return Completion(id=request.id, text="", stop="error", error=reason, **spent)
    cut = output.stop_reason in ("max_tokens", "model_length")
    text = hide_key(output.completion.strip(), key)
    return Completion(id=request.id, text=text, stop="length" if cut else "stop", **spent)


def hide_key(text: str, key: str) -> str:
    """A text without the key, should the server say it."""
    return text.replace(key, "***") if key else text


def read_api_key(model: Any) -> str:
    """The key that the model is asked with; empty where it has none worth hiding."""
    key = getattr(model.api, "api_key", None)
    return key if isinstance(key, str) and len(key) >= 6 else ""


def find_root_cause(error: BaseException) -> Exception:
    """What failed in the end, without the retrying around it; an error of ours that lies beneath goes first."""
    for found in _iter_causes(error):
        if isinstance(found, CharterError):
            return found
    attempt = getattr(error, "last_attempt", None)
    inner = attempt.exception() if attempt is not None else None
    found = inner if isinstance(inner, Exception) else error
    return found if isinstance(found, Exception) else RuntimeError(str(found))


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


def read_http_status(error: BaseException) -> int | None:
    """The HTTP status that an exception of a provider's client carries."""
    found = getattr(error, "status_code", None)
    return found if isinstance(found, int) else None


def read_retry_after(model: Any, error: Exception) -> float | None:
    """The seconds that the server asks to wait (Retry-After, or when a rate limit is reset), where it says so."""
    decision = model.api.should_retry(error)
    found = getattr(decision, "retry_after", None)
    return float(found) if found is not None else None


def look_up_price(name: str) -> tuple[float, float] | None:
    """The price of a million tokens read and written, where Inspect's model data hold it."""
    try:
        from inspect_ai.model import get_model_info
    except ImportError:
        return None
    info = get_model_info(name)
    cost = info.cost if info is not None else None
    return (cost.input, cost.output) if cost is not None else None


def rejects_schema(error: Exception) -> bool:
    """The server says that it refuses reply schemas as such."""
    return _SCHEMA_PATTERN.search(str(getattr(error, "provider_message", None) or error)) is not None


def scrub_secrets(error: object, *secrets: str) -> str:
    """An error's last words on one line, at most 300 characters, without any secret of the environment."""
    text = str(getattr(error, "provider_message", None) or error or type(error).__name__)
    known = [value for name, value in os.environ.items() if name.upper().endswith(_SECRET_SUFFIXES)]
    for secret in (*secrets, *known):
        if len(secret) >= 6:
            text = text.replace(secret, "***")
    return " ".join(text.split())[:300]
