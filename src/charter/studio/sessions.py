"""Who is in the studio: tokens that let people in, sessions, and what each role may do."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from charter.errors import SpecError

StudioRole = Literal["viewer", "reviewer", "approver", "admin"]
ROLES: tuple[StudioRole, ...] = get_args(StudioRole)
"""Each may do what those before it may: read, propose rules, decide about rules, start runs."""

MAX_ATTEMPTS, ATTEMPT_SECONDS = 10, 60.0
"""Wrong tokens from one address in so many seconds; then every token from there is refused for as long."""
MAX_SESSIONS, SESSION_SECONDS = 1_000, 12 * 3600.0


@dataclass(frozen=True)
class StudioAccess:
    """A way in: whoever has the token is this person, in this role."""

    role: StudioRole
    person: str
    token: str


@dataclass(frozen=True)
class StudioSession:
    """Somebody who came in. ``csrf`` stands in each form; ``until`` is a time of the book's clock, in seconds."""

    role: StudioRole
    person: str
    csrf: str
    until: float

    def may_act_as(self, role: StudioRole) -> bool:
        """Whether this session may do what ``role`` may."""
        return ROLES.index(self.role) >= ROLES.index(role)


def parse_access(asked: str, person: str) -> StudioAccess:
    """A way in from ``ROLE`` or ``ROLE:NAME``, with a new token.

    Args:
        asked: What was typed.
        person: The name where none was typed.

    Raises:
        SpecError: No such role.
    """
    role, _, name = asked.partition(":")
    if role not in ROLES:
        raise SpecError(f"{role!r} is no role of the studio", cure=f"Roles: {', '.join(ROLES)}; e.g. approver:Ada.")
    return StudioAccess(role, name.strip() or person, secrets.token_urlsafe(32))


class SessionBook:
    """Lets people in by their tokens and knows them again by a cookie. Only digests of cookies are kept.

    Args:
        accesses: The ways in.
        clock: Seconds that never go back.
    """

    def __init__(self, accesses: Sequence[StudioAccess], clock: Callable[[], float] = time.monotonic) -> None:
        self._accesses, self._clock, self._mutex = tuple(accesses), clock, threading.Lock()
        self._sessions: OrderedDict[str, StudioSession] = OrderedDict()
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def admit(self, token: str, address: str) -> str | None:
        """The cookie of a new session; None where the token is wrong, or its sender guessed too often."""
        found = None
        for access in self._accesses:  # every one is compared, so that the time says nothing
            if hmac.compare_digest(access.token.encode(), token.encode(errors="replace")):
                found = access
        with self._mutex:
            if self._is_shut(address):
                return None
            if found is None:
                self._failures.setdefault(address, []).append(self._clock())
                while len(self._failures) > MAX_SESSIONS:
                    self._failures.popitem(last=False)
                return None
            cookie = secrets.token_urlsafe(32)
            until = self._clock() + SESSION_SECONDS
            session = StudioSession(found.role, found.person, secrets.token_urlsafe(32), until)
            self._sessions[_digest_cookie(cookie)] = session
            while len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        return cookie

    def is_shut(self, address: str) -> bool:
        """Whether too many wrong tokens came from this address."""
        with self._mutex:
            return self._is_shut(address)

    def find(self, cookie: str) -> StudioSession | None:
        """The session of a cookie; None where there is none, or it is over."""
        key = _digest_cookie(cookie)
        with self._mutex:
            session = self._sessions.get(key)
            if session is not None and session.until < self._clock():
                del self._sessions[key]
                return None
        return session

    def end(self, cookie: str) -> None:
        """Forgets a session."""
        with self._mutex:
            self._sessions.pop(_digest_cookie(cookie), None)

    def _is_shut(self, address: str) -> bool:
        since = self._clock() - ATTEMPT_SECONDS
        recent = [at for at in self._failures.get(address, ()) if at > since]
        if recent:
            self._failures[address] = recent
        else:
            self._failures.pop(address, None)
        return len(recent) >= MAX_ATTEMPTS


def _digest_cookie(cookie: str) -> str:
    return hashlib.sha256(cookie.encode(errors="replace")).hexdigest()
