"""``POST /api/feedback``: programs send what their users said, each with a key of its own.

It is a server of its own, so that what a product can reach is this one address, and neither runs nor votes.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from charter.errors import StoreError
from charter.jobs.feedback_intake import FeedbackIntake, open_feedback_store
from charter.records.feedback import Feedback, FeedbackReceipt, describe_fault
from charter.runs import store
from charter.studio.feedback_keys import FeedbackKeys, read_keys
from charter.studio.gatekeeper import RefusedRequestError, StudioAddress, read_body, require_host
from charter.studio.rate_limits import RateLimiter
from charter.studio.serving import ListeningPlace, serve_application

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

FEEDBACK_PATH = "/api/feedback"
MAX_FEEDBACK_BYTES = 256 << 10
WRONG_KEYS_A_MINUTE = 10
"""Wrong keys from one address; then all of its calls wait."""
RETRY_SECONDS = 5
"""When to come again where the store cannot be used."""
_STATUS = {"new": 201, "known": 200, "changed": 409, "erased": 410}
_REASONS = {
    "changed": "This id was taken in before with other words.",
    "erased": "The row of this id was erased, and is not taken in again.",
}
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_log = logging.getLogger("uvicorn.error")

TakeRows = Callable[[str, Sequence[Feedback]], list[FeedbackReceipt]]


@dataclass(frozen=True)
class FeedbackServiceSetup:
    """What the service goes by: the keys, and how many rows a sender may send in a minute."""

    keys: FeedbackKeys
    per_minute: int


def make_feedback_application(take_rows: TakeRows, setup: FeedbackServiceSetup, address: StudioAddress) -> ASGIApp:
    """The application.

    Args:
        take_rows: From a sender and rows to what became of them; they are on the disk when it returns.
        setup: Keys and rate.
        address: Where it is reached.
    """
    endpoint = FeedbackEndpoint(take_rows, setup, address)
    return Starlette(routes=[Route(FEEDBACK_PATH, endpoint.answer, methods=["POST"])])


class FeedbackEndpoint:
    """Takes one row a call."""

    def __init__(self, take_rows: TakeRows, setup: FeedbackServiceSetup, address: StudioAddress) -> None:
        self._take_rows, self._keys, self._address = take_rows, setup.keys, address
        self._rate, self._wrong = RateLimiter(setup.per_minute), RateLimiter(WRONG_KEYS_A_MINUTE)

    async def answer(self, request: Request) -> Response:
        """Says what became of the row: 201 new, 200 known, 409 changed, 410 erased; or why it was refused."""
        try:
            require_host(request.headers, self._address)
            sender = self._identify(request)
            said = _parse_body(await _read_json(request))
            receipt = (await run_in_threadpool(self._take_rows, sender, [said]))[0]
        except RefusedRequestError as refused:
            return _refuse(refused)
        except StoreError as error:
            _log.error("%s", error)
            return _refuse(RefusedRequestError(503, "The store cannot be used now.", RETRY_SECONDS))
        if receipt.state in _REASONS:
            return _refuse(RefusedRequestError(_STATUS[receipt.state], _REASONS[receipt.state]))
        told = {"id": receipt.id, "state": receipt.state, "masked": receipt.masked, "used": said.consent != "none"}
        return JSONResponse(told, _STATUS[receipt.state], headers=_HEADERS)

    def _identify(self, request: Request) -> str:
        """Whose key the request carries."""
        address = request.client.host if request.client else ""
        if wait := self._wrong.seconds_to_wait(address):
            raise RefusedRequestError(429, "Too many wrong keys came from here.", wait)
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        sender = self._keys.find_sender(key.strip()) if scheme.lower() == "bearer" else None
        if sender is None:
            self._wrong.take_token(address)
            raise RefusedRequestError(401, "No key is known here by which this came.")
        if wait := self._rate.take_token(sender):
            raise RefusedRequestError(429, "This key sends more than it may.", wait)
        return sender


def serve_feedback(
    place: ListeningPlace, store_place: str, key_file: Path | None, per_minute: int, announce: Callable[[str], None]
) -> None:
    """Serves until an interrupt.

    Args:
        place: Where it listens.
        store_place: The store, by file or URL; a file that is not there is made.
        key_file: The file of keys; None: that of the environment alone.
        per_minute: Rows that a sender may send in a minute.
        announce: Is given the URL, as soon as calls are accepted.

    Raises:
        SpecError: No key, no such kind of store, another host without TLS, or a port that cannot be used.
        StoreError: The store cannot be used.
        EngineError: What masks personal data is not installed.
    """
    setup = FeedbackServiceSetup(read_keys(key_file, os.environ), per_minute)
    with open_feedback_store(store_place, create=True) as rows:
        intake = FeedbackIntake(rows)

        def open_service(address: StudioAddress, url: str) -> ASGIApp:
            announce(f"{url}{FEEDBACK_PATH}")
            return make_feedback_application(intake.take_rows, setup, address)

        serve_application(place, open_service)


async def _read_json(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedRequestError(415, "Only application/json is read.")
    return await read_body(request.scope, request.receive, MAX_FEEDBACK_BYTES)


def _parse_body(body: bytes) -> Feedback:
    """The row of a body. Raises RefusedRequestError."""
    try:
        return Feedback.model_validate(store.parse_json(body))
    except ValidationError as error:
        raise RefusedRequestError(422, describe_fault(error)) from error
    except (ValueError, RecursionError) as error:
        raise RefusedRequestError(422, "The body is no JSON that can be read.") from error


def _refuse(refused: RefusedRequestError) -> Response:
    headers = dict(_HEADERS)
    if refused.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refused.wait:
        headers["Retry-After"] = str(math.ceil(refused.wait))
    return JSONResponse({"error": refused.reason}, refused.status, headers=headers)
