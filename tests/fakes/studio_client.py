"""The studio over a folder of runs, with a browser for each person: it keeps cookies, and its forms carry the mark."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.testclient import TestClient

from charter.studio.application import make_application
from charter.studio.gatekeeper import StudioAddress
from charter.studio.sessions import ROLES, StudioAccess

if TYPE_CHECKING:
    from fastapi import FastAPI

HOST = "127.0.0.1:8765"
ORIGIN = f"http://{HOST}"
ADDRESS = StudioAddress("http", frozenset({HOST, "localhost:8765"}), "charter-studio-8765")
PEOPLE = {"viewer": "Vi", "reviewer": "Rob", "approver": "Ada", "admin": "Root"}


@dataclass(frozen=True)
class Browser:
    """One person's browser."""

    client: TestClient

    def read(self, path: str, status: int = 200) -> str:
        """A page, which has this status."""
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text[:500]
        return str(answer.text)

    def mark(self) -> str:
        """The mark of the session, as its forms have it."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.read("/"))
        assert found is not None
        return found[1]

    def post(self, path: str, fields: Mapping[str, str], origin: str = ORIGIN) -> Any:
        """Sends a form of the studio."""
        return self.client.post(path, data={"csrf": self.mark(), **fields}, headers={"Origin": origin})


def open_studio(root: Path, *more: StudioAccess) -> FastAPI:
    """The application, with a way in for each role: its token is the role's name, eight times."""
    accesses = [StudioAccess(role, PEOPLE[role], role * 8) for role in ROLES]
    return make_application(root, [*accesses, *more], ADDRESS)


def browse(app: FastAPI) -> TestClient:
    """A browser of nobody in particular."""
    return TestClient(app, base_url=ORIGIN, follow_redirects=False)


def enter(app: FastAPI, token: str) -> Browser:
    """A browser of somebody who came in."""
    client = browse(app)
    assert client.get(f"/enter?token={token}").status_code == 303
    return Browser(client)


class _Markup(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.values += [(name, value or "") for name, value in attrs]


def read_markup(page: str) -> tuple[list[tuple[str, tuple[str, ...]]], list[tuple[str, str]]]:
    """Every element of a page with its attributes' names, in order; and every attribute with its value."""
    found = _Markup()
    found.feed(page)
    found.close()
    return found.tags, found.values
