"""``POST /api/feedback``: who is let in, what is refused, and what is acknowledged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from charter.data.feedback.feedback_store import FeedbackStore
from charter.errors import StoreError
from charter.jobs.feedback_intake import FeedbackIntake, open_feedback_store
from charter.records.feedback import feedback_id
from charter.studio.feedback_keys import FeedbackKeys
from charter.studio.feedback_service import (
    MAX_FEEDBACK_BYTES,
    WRONG_KEYS_A_MINUTE,
    FeedbackServiceSetup,
    TakeRows,
    make_feedback_application,
)
from charter.studio.gatekeeper import StudioAddress
from tests.fakes.said_feedback import AT, said

HOST = "127.0.0.1:8766"
KEY = "a key of twenty characters and more"
SETUP = FeedbackServiceSetup(FeedbackKeys({"shop": hashlib.sha256(KEY.encode()).hexdigest()}), per_minute=30)
HEADERS = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeedbackStore]:
    with open_feedback_store(str(tmp_path / "f.db"), create=True) as opened:
        yield opened


def connect(take_rows: TakeRows) -> TestClient:
    address = StudioAddress("http", frozenset({HOST}), "none")
    return TestClient(make_feedback_application(take_rows, SETUP, address), base_url=f"http://{HOST}")


@pytest.fixture
def client(store: FeedbackStore) -> TestClient:
    return connect(FeedbackIntake(store, ()).take_rows)


def row(id: str = "1", **fields: Any) -> dict[str, Any]:
    return said(id, **fields).model_dump(mode="json", exclude_defaults=True)


def post(client: TestClient, body: Any, **headers: str) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(
        "/api/feedback", content=content, headers={"Content-Type": "application/json", **HEADERS, **headers}
    )


def test_a_row_is_acknowledged_once_it_is_kept(client: TestClient, store: FeedbackStore) -> None:
    answer = post(client, row("1"))
    expected = {"id": feedback_id("shop", "1"), "state": "new", "masked": {}, "used": True}
    assert (answer.status_code, answer.json()) == (201, expected)
    assert [kept.said for kept in store.read_rows()] == [said("1")]
    answer = post(client, row("1"))
    assert (answer.status_code, answer.json()["state"]) == (200, "known")
    answer = post(client, row("1", comment="other words"))
    assert (answer.status_code, answer.json()) == (409, {"error": "This id was taken in before with other words."})
    assert [kept.said for kept in store.read_rows()] == [said("1")]
    assert post(client, row("2", consent="none")).json()["used"] is False


def test_an_erased_row_is_gone(client: TestClient, store: FeedbackStore) -> None:
    store.erase_row(post(client, row("1")).json()["id"], AT)
    assert post(client, row("1")).status_code == 410
    assert [kept.said for kept in store.read_rows()] == [None]


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", f"Basic {KEY}", f"Bearer {KEY}x", KEY])
def test_nobody_is_let_in_without_a_key(given: str, client: TestClient, store: FeedbackStore) -> None:
    answer = post(client, row(), Authorization=given)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert list(store.read_rows()) == []


def test_who_guesses_keys_is_shut_out(client: TestClient) -> None:
    statuses = [post(client, row(), Authorization="Bearer wrong").status_code for _ in range(WRONG_KEYS_A_MINUTE + 1)]
    assert statuses == [401] * WRONG_KEYS_A_MINUTE + [429]
    assert post(client, row()).status_code == 429


def test_a_key_that_sends_too_much_waits(client: TestClient) -> None:
    answers = [post(client, row(str(number))) for number in range(SETUP.per_minute + 1)]
    assert [answer.status_code for answer in answers] == [201] * SETUP.per_minute + [429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8766", "127.0.0.1", "localhost:8766"])
def test_a_foreign_name_is_not_answered(host: str, client: TestClient, store: FeedbackStore) -> None:
    assert post(client, row(), Host=host).status_code == 421
    assert list(store.read_rows()) == []


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"7", b"\xff\xfe", b'{"id": "1", "id": "2"}', b'{"id": NaN}', b"[" * 100_000,
        json.dumps(row() | {"thumbs": "sideways"}).encode(), json.dumps(row() | {"extra": 1}).encode(),
        json.dumps(row() | {"user": "ann@example.com"}).encode(), json.dumps({"id": "1"}).encode(),
        json.dumps(row()).replace("pick a lock", "\\ud800").encode(),
    ],
)  # fmt: skip
def test_a_malformed_body_is_refused(body: bytes, client: TestClient, store: FeedbackStore) -> None:
    answer = post(client, body)
    assert answer.status_code == 422
    assert answer.json()["error"]
    assert "ann@example.com" not in answer.text
    assert list(store.read_rows()) == []


def test_a_body_is_bounded(client: TestClient) -> None:
    assert post(client, b" " * (MAX_FEEDBACK_BYTES + 1)).status_code == 413
    assert post(client, b"{}", **{"Content-Length": "9" * 30}).status_code == 413
    pieces = (b" " * 1024 for _ in range((MAX_FEEDBACK_BYTES >> 10) + 1))
    answer = client.post("/api/feedback", content=pieces, headers={"Content-Type": "application/json", **HEADERS})
    assert answer.status_code == 413


def test_only_json_is_read_at_one_address(client: TestClient) -> None:
    assert post(client, row(), **{"Content-Type": "text/plain"}).status_code == 415
    assert client.get("/api/feedback", headers=HEADERS).status_code == 405
    assert client.get("/", headers=HEADERS).status_code == 404


def test_a_store_that_cannot_be_used_is_said_without_its_name() -> None:
    def fail(sender: str, rows: object) -> Any:
        raise StoreError("the feedback store postgresql://ada@host cannot be used", "See to it.")

    answer = post(connect(fail), row())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json() == {"error": "The store cannot be used now."}
