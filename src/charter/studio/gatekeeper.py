"""What every request must pass before a page sees it, and what every answer carries.

The studio is a page on the machine of whoever runs it. Other pages in the same browser must neither read it nor act in
it: so the host's name is checked (a foreign name that resolves to this machine is refused), and a form must come from
the studio itself, with the mark of its session.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

from charter.studio.sessions import SessionBook, StudioSession

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 64 << 10
MAX_FIELDS = 50
MAX_URL_BYTES = 8 << 10
ENTRANCE, OPEN_FOLDER = "/enter", "/static/"
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


class RefusedRequestError(Exception):
    """A request that no page sees: its status and the reason; ``wait``: the seconds after which it may come again."""

    def __init__(self, status: int, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.status, self.reason, self.wait = status, reason, wait


@dataclass(frozen=True)
class StudioAddress:
    """Where the studio is reached: ``hosts`` are the values of the header Host that are right."""

    scheme: str
    hosts: frozenset[str]
    cookie: str


class Gatekeeper:
    """The outermost layer of the application.

    Args:
        app: What is guarded.
        book: Who is let in.
        address: Where it is reached.
        refuse: From a status and a reason to an answer.
    """

    def __init__(
        self, app: ASGIApp, book: SessionBook, address: StudioAddress, refuse: Callable[[int, str], Response]
    ) -> None:
        self.app, self.book, self.address, self.refuse = app, book, address, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses the request, or hands it on with its session and its form."""
        if scope["type"] != "http":
            return
        answer: ASGIApp = self.app
        try:
            scope.setdefault("state", {})
            session = self._check_request(scope)
            scope["state"]["session"] = session
            scope["state"]["form"] = await self._read_form(scope, receive, session)
        except RefusedRequestError as refused:
            answer = self.refuse(refused.status, refused.reason)
        await answer(scope, receive, _add_headers(send))

    def _check_request(self, scope: Scope) -> StudioSession | None:
        headers, path = Headers(scope=scope), scope["path"]
        require_host(headers, self.address)
        if scope["method"] not in ("GET", "HEAD", "POST"):
            raise RefusedRequestError(405, "Only GET and POST are answered.")
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_URL_BYTES:
            raise RefusedRequestError(414, "The address is too long.")
        if scope["method"] == "POST":
            self._check_origin(headers)
        elif headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            raise RefusedRequestError(403, "Another page may not load this.")
        session = self.book.find(read_cookie(headers, self.address.cookie))
        if session is None and path != ENTRANCE and not path.startswith(OPEN_FOLDER):
            raise RefusedRequestError(401, "Nobody is let in without a token.")
        return session

    def _check_origin(self, headers: Headers) -> None:
        """A form names where it comes from: Origin, or Referer where a browser leaves that out."""
        came = headers.get("origin") or headers.get("referer") or ""
        scheme, _, rest = came.partition("://")
        host = rest.split("/")[0].lower()
        if scheme != self.address.scheme or host != headers["host"].lower():
            raise RefusedRequestError(403, "The form does not come from the studio.")

    async def _read_form(self, scope: Scope, receive: Receive, session: StudioSession | None) -> dict[str, str]:
        if scope["method"] != "POST":
            return {}
        kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise RefusedRequestError(415, "Only forms are read.")
        form = parse_form(await read_body(scope, receive, MAX_BODY_BYTES))
        if scope["path"] != ENTRANCE:
            given = form.pop("csrf", "")
            if session is None or not hmac.compare_digest(given.encode(), session.csrf.encode()):
                raise RefusedRequestError(403, "The form is not of this session. Load the page again.")
        return form


def require_host(headers: Headers, address: StudioAddress) -> None:
    """Raises RefusedRequestError where the header Host is not the address: a foreign name that leads here is none."""
    if headers.getlist("host") != [headers.get("host")] or headers["host"].lower() not in address.hosts:
        raise RefusedRequestError(421, "This server is not reached under this name.")


def read_cookie(headers: Headers, name: str) -> str:
    """The value of a cookie; empty where there is none."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value


def parse_form(body: bytes) -> dict[str, str]:
    """The fields of a form; of one that comes twice the first.

    Raises:
        RefusedRequestError: It is not UTF-8, or has too many fields.
    """
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError as error:
        raise RefusedRequestError(400, "The form cannot be read.") from error
    form: dict[str, str] = {}
    for name, value in pairs:
        form.setdefault(name, value)
    return form


async def read_body(scope: Scope, receive: Receive, most: int) -> bytes:
    """The body of a request, of at most so many bytes. Raises RefusedRequestError."""
    too_long = RefusedRequestError(413, f"A body holds at most {most >> 10} KiB.")
    declared = Headers(scope=scope).get("content-length", "0")
    if not (declared.isascii() and declared.isdigit()) or int(declared[:12]) > most:
        raise too_long
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise RefusedRequestError(400, "The body broke off.")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > most:
            raise too_long
    return bytes(body)


def _add_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
