"""The oracle as an OpenAI-compatible server on the loopback interface: chat completions, reply schemas, usage."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from charter.errors import EngineError
from charter.organism.oracle import Oracle, OracleErrors
from charter.organism.world import World
from charter.records.chat import Message, Request, Sampling
from charter.records.record import digest

if TYPE_CHECKING:
    from fastapi import FastAPI

Announce = Callable[[str], None]


def _print_url(url: str) -> None:
    print(url, flush=True)


class ContentPart(BaseModel):
    """A piece of a message's content; only text can be read."""

    type: Literal["text"]
    text: str


class ChatTurn(BaseModel):
    """A chat turn as the wire has it."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[ContentPart] = ""

    def to_message(self) -> Message:
        """The same turn as a noun."""
        text = self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)
        return Message(role="system" if self.role == "developer" else self.role, content=text)


class NamedSchema(BaseModel):
    """A named JSON schema."""

    body: dict[str, Any] | None = Field(default=None, alias="schema")


class ResponseFormat(BaseModel):
    """What form the reply shall have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None


class ChatCall(BaseModel):
    """The fields of a chat-completions call that the oracle reads; others are ignored."""

    model: str
    messages: list[ChatTurn]
    seed: int | None = None
    temperature: float | None = None
    n: int | None = 1
    stream: bool | None = False
    response_format: ResponseFormat | None = None

    def to_request(self) -> Request:
        """The same question as a Request."""
        form = self.response_format
        messages = tuple(turn.to_message() for turn in self.messages)
        return Request(
            id=digest([m.content for m in messages])[:24],
            messages=messages,
            sampling=Sampling(temperature=self.temperature or 0.0),
            seed=self.seed or 0,
            response_schema=form.json_schema.body if form and form.json_schema else None,
        )


def make_app(oracle: Oracle) -> FastAPI:
    """The HTTP application: ``POST /v1/chat/completions`` and ``GET /v1/models``."""
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse

    app = FastAPI(title="charter oracle", openapi_url=None)

    def fault(message: str) -> JSONResponse:
        return JSONResponse({"error": {"message": message, "type": "invalid_request_error"}}, status_code=400)

    @app.exception_handler(RequestValidationError)
    def invalid(_: object, error: Exception) -> JSONResponse:
        return fault(f"The call cannot be read: {error}")

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": oracle.identity, "object": "model", "owned_by": "charter"}]}

    @app.post("/v1/chat/completions", response_model=None)
    def complete(call: ChatCall) -> dict[str, Any] | JSONResponse:
        if call.stream or (call.n or 1) != 1:
            return fault("This server gives one whole answer: leave out stream, and n.")
        answer = next(iter(oracle.generate([call.to_request()])))
        message = {"role": "assistant", "content": answer.text}
        usage = {
            "prompt_tokens": answer.tokens_in,
            "completion_tokens": answer.tokens_out,
            "total_tokens": answer.tokens_in + answer.tokens_out,
        }
        return {
            "id": f"chatcmpl-{answer.id}",
            "object": "chat.completion",
            "created": 0,
            "model": call.model,
            "choices": [{"index": 0, "message": message, "finish_reason": answer.stop, "logprobs": None}],
            "usage": usage,
        }

    return app


def serve_oracle(
    world: World, port: int = 0, errors: OracleErrors | None = None, announce: Announce = _print_url
) -> None:
    """Serves on 127.0.0.1 until SIGINT; ``port`` 0 takes any free one. ``announce`` gets the base URL (by default
    it is printed) as soon as calls are accepted. Raises EngineError where the port is taken."""
    import uvicorn

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise EngineError(f"Port {port} cannot be used: {error}.", "Choose another port, or 0 for any.") from error
        listener.listen(128)
        config = uvicorn.Config(make_app(Oracle(world, errors)), log_level="warning", lifespan="off")
        announce(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            return
