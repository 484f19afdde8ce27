"""Tokens, sessions and roles, with a clock of the test's own."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from charter.errors import SpecError
from charter.studio.sessions import (
    ATTEMPT_SECONDS,
    MAX_ATTEMPTS,
    MAX_SESSIONS,
    ROLES,
    SESSION_SECONDS,
    SessionBook,
    StudioAccess,
    StudioSession,
    parse_access,
)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def make_book(clock: Clock) -> SessionBook:
    return SessionBook([StudioAccess("approver", "Ada", "a" * 43), StudioAccess("viewer", "Vi", "v" * 43)], clock)


def test_a_token_says_who_and_as_what() -> None:
    book = make_book(Clock())
    cookie = book.admit("v" * 43, "here")
    assert cookie is not None
    found = book.find(cookie)
    assert found is not None
    assert (found.person, found.role) == ("Vi", "viewer")
    assert book.find("x") is None


def test_two_sessions_share_no_mark() -> None:
    book = make_book(Clock())
    cookies = [book.admit("a" * 43, "here") or "" for _ in range(2)]
    marks = {found.csrf for cookie in cookies if (found := book.find(cookie))}
    assert len(set(cookies)) == len(marks) == 2


def test_a_session_ends() -> None:
    clock = Clock()
    book = make_book(clock)
    cookie = book.admit("a" * 43, "here") or ""
    clock.now = SESSION_SECONDS - 1
    assert book.find(cookie)
    clock.now = SESSION_SECONDS + 1
    assert book.find(cookie) is None


def test_many_sessions_and_many_guessers_are_forgotten() -> None:
    book = make_book(Clock())
    cookies = [book.admit("a" * 43, "here") or "" for _ in range(MAX_SESSIONS + 5)]
    assert [book.find(cookie) is None for cookie in cookies].count(True) == 5
    for n in range(MAX_SESSIONS + 5):
        book.admit("wrong", f"address {n}")
    assert len(book._failures) <= MAX_SESSIONS


def test_guessing_shuts_one_address_for_a_while() -> None:
    clock = Clock()
    book = make_book(clock)
    assert [book.admit("wrong", "there") for _ in range(MAX_ATTEMPTS)] == [None] * MAX_ATTEMPTS
    assert book.is_shut("there")
    assert book.admit("a" * 43, "there") is None
    assert book.admit("a" * 43, "here") is not None
    clock.now = ATTEMPT_SECONDS + 1
    assert book.admit("a" * 43, "there") is not None


@pytest.mark.parametrize("mine", ROLES)
def test_a_role_may_do_what_those_before_it_may(mine: str) -> None:
    session = StudioSession(next(role for role in ROLES if role == mine), "Ada", "", 0)
    assert [session.may_act_as(role) for role in ROLES] == [n <= ROLES.index(session.role) for n in range(len(ROLES))]


def test_a_way_in_is_read_from_what_was_typed() -> None:
    ada, other = parse_access("approver:Ada", "me"), parse_access("viewer", "me")
    assert (ada.role, ada.person, other.role, other.person) == ("approver", "Ada", "viewer", "me")
    assert len({ada.token, other.token}) == 2
    assert len(ada.token) >= 43
    with pytest.raises(SpecError, match="'king' is no role"):
        parse_access("king", "me")
