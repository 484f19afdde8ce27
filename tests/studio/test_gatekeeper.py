"""Who is let in, and what is refused before a page sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from charter.studio.application import FORMS, ROUTES
from charter.studio.gatekeeper import MAX_BODY_BYTES, RefusedRequestError, parse_form
from tests.fakes.recorded_run import tell
from tests.fakes.studio_client import HOST, ORIGIN, Browser, browse, enter, open_studio

if TYPE_CHECKING:
    from fastapi import FastAPI

FILLED = {"{run}": "one", "{folder}": "001", "{step}": "exchanges", "{key:path}": "x1", "{rule}": "p-1"}
POLICY = ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'")
TRAVERSALS = (
    "..",
    "../..",
    "../../etc/passwd",
    "%2e%2e",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%2f..%2fetc%2fpasswd",
    "%252e%252e%252f",
    "..\\..\\",
    "....//....//",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "outside",
    "outside/run",
    "link",
    "one/../../outside/run",
    "one%00",
    "\x00",
    ".",
    "one/.",
    "~",
    "file:///etc/passwd",
    "C:\\",
    "spec.yaml",
    "one/spec.yaml",
)


def fill(path: str) -> str:
    for name, value in FILLED.items():
        path = path.replace(name, value)
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("base")
    tell(base / "runs" / "one")
    tell(base / "outside" / "run")
    (base / "runs" / "link").symlink_to(base / "outside" / "run")
    return base / "runs"


@pytest.fixture(scope="module")
def app(root: Path) -> FastAPI:
    return open_studio(root)


@pytest.fixture(scope="module")
def admin(app: FastAPI) -> Browser:
    return enter(app, "admin" * 8)


@pytest.mark.parametrize("path", ROUTES)
def test_nobody_reads_a_page_without_a_session(app: FastAPI, path: str) -> None:
    answer = browse(app).get(fill(path))
    assert answer.status_code == 401
    assert "the words of" not in answer.text
    assert "p-1" not in answer.text


@pytest.mark.parametrize("path", FORMS)
def test_nobody_acts_without_a_session(app: FastAPI, path: str) -> None:
    answer = browse(app).post(fill(path), data={"csrf": ""}, headers={"Origin": ORIGIN})
    assert answer.status_code == 401


def test_a_made_up_cookie_opens_nothing(app: FastAPI, admin: Browser) -> None:
    held = admin.client.cookies["charter-studio-8765"]
    client = browse(app)
    for cookie in ("", "x", held[:-1], f"{held}x", "é"):
        answer = client.get("/", headers={b"Cookie": f"charter-studio-8765={cookie}".encode()})
        assert answer.status_code == 401


def test_the_cookie_is_for_the_studio_alone(app: FastAPI) -> None:
    set_cookie = browse(app).get(f"/enter?token={'viewer' * 8}").headers["set-cookie"].lower()
    assert [word for word in ("httponly", "samesite=strict", "path=/", "max-age=43200") if word not in set_cookie] == []
    assert "viewer" not in set_cookie


@pytest.mark.parametrize("path", ["/", "/nothing", "/static/studio.css", "/enter", "/runs/one", "/runs/none"])
def test_every_answer_carries_the_policy(admin: Browser, path: str) -> None:
    headers = admin.client.get(path).headers
    assert [part for part in POLICY if part not in headers["content-security-policy"]] == []
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"


def test_the_report_lies_in_a_sandbox(admin: Browser) -> None:
    policy = admin.client.get("/runs/one/report").headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script-src" not in policy
    assert "allow-scripts" not in policy


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8765", "127.0.0.1", "127.0.0.1:80", "localhost.evil:8765", "0.0.0.0:8765", ""],
)
def test_a_foreign_name_that_leads_here_is_refused(admin: Browser, host: str) -> None:
    answer = admin.client.get("/runs/one", headers={"Host": host})
    assert answer.status_code == 421
    assert "the words of" not in answer.text


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "https://127.0.0.1:8765", "http://127.0.0.1:9", f"{ORIGIN}.evil"]
)
def test_a_form_of_another_page_is_refused(admin: Browser, origin: str) -> None:
    answer = admin.post("/runs/one/votes", {"action": "approve", "rule": "p-1"}, origin)
    assert answer.status_code == 403
    assert "No decision yet." in admin.read("/runs/one/constitution")


def test_a_form_without_the_mark_of_its_session_is_refused(app: FastAPI, admin: Browser) -> None:
    other = enter(app, "approver" * 8).mark()
    for mark in ("", "x", other, admin.mark()[:-1]):
        answer = admin.client.post(
            "/runs/one/votes", data={"csrf": mark, "action": "approve", "rule": "p-1"}, headers={"Origin": ORIGIN}
        )
        assert answer.status_code == 403
    assert "No decision yet." in admin.read("/runs/one/constitution")


def test_a_referer_stands_in_for_an_origin(admin: Browser) -> None:
    sent = {"csrf": admin.mark(), "action": "nothing"}
    answers = [
        admin.client.post("/runs/one/votes", data=sent, headers={"Referer": referer}).status_code
        for referer in (f"{ORIGIN}/runs/one/constitution", "http://evil.example/")
    ]
    assert answers == [400, 403]


def test_another_page_loads_nothing(admin: Browser) -> None:
    crossed = {"Sec-Fetch-Site": "cross-site"}
    assert admin.client.get("/runs/one", headers=crossed | {"Sec-Fetch-Mode": "no-cors"}).status_code == 403
    assert admin.client.get("/runs/one", headers=crossed | {"Sec-Fetch-Mode": "navigate"}).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(admin: Browser, method: str) -> None:
    assert admin.client.request(method, "/runs/one").status_code == 405


@pytest.mark.parametrize("name", TRAVERSALS)
@pytest.mark.parametrize(
    "path",
    [
        "/runs/{}",
        "/runs/one/steps/{}/exchanges",
        "/runs/one/steps/001/{}",
        "/runs/one/steps/001/exchanges/{}",
        "/static/{}",
    ],
)
def test_no_path_leads_out_of_the_folder(admin: Browser, path: str, name: str) -> None:
    answer = admin.client.get(path.format(name.replace("\x00", "%00")))
    assert answer.status_code in (404, 307) or answer.url.path in ("/", "/runs/one", "/runs/one/steps/001/exchanges")
    assert "root:" not in answer.text
    assert 'href="/runs/outside' not in answer.text


def test_a_step_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    run, secret = tell(tmp_path / "runs" / "one"), tmp_path / "secret"
    secret.write_text('{"id":"confidential"}\n', encoding="utf-8")
    (run / "001" / "exchanges.jsonl").unlink()
    (run / "001" / "exchanges.jsonl").symlink_to(secret)
    viewer = enter(open_studio(tmp_path / "runs"), "viewer" * 8)
    answer = viewer.client.get("/runs/one/steps/001/exchanges")
    assert answer.status_code == 500
    assert "confidential" not in answer.text


def _in_pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // 1024):
        yield b"a" * 1024


def test_a_body_is_bounded(admin: Browser) -> None:
    form = {"Origin": ORIGIN, "Content-Type": "application/x-www-form-urlencoded"}
    for body in (b"a" * (MAX_BODY_BYTES + 1), _in_pieces(2 * MAX_BODY_BYTES)):
        assert admin.client.post("/runs/one/votes", content=body, headers=form).status_code == 413
    lied = form | {"Content-Length": "9" * 30}
    assert admin.client.post("/runs/one/votes", content=b"a", headers=lied).status_code == 413
    assert admin.client.get("/?q=" + "a" * 9000).status_code == 414


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "text/plain", ""])
def test_only_forms_are_read(admin: Browser, kind: str) -> None:
    headers = {"Origin": ORIGIN, "Content-Type": kind}
    assert admin.client.post("/runs/one/votes", content=b"csrf=x", headers=headers).status_code == 415


@pytest.mark.parametrize("body", [b"csrf=%ff", b"\xff=1", b"&".join(b"a%d=1" % n for n in range(60))])
def test_a_broken_form_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedRequestError) as caught:
        parse_form(body)
    assert caught.value.status == 400


def test_the_first_of_two_fields_counts() -> None:
    assert parse_form(b"a=1&a=2&b=") == {"a": "1", "b": ""}


def test_guesses_are_limited(root: Path) -> None:
    client = browse(open_studio(root))
    answers = [client.get(f"/enter?token=guess{n}").status_code for n in range(12)]
    assert answers == [403] * 9 + [429] * 3
    assert client.get(f"/enter?token={'admin' * 8}").status_code == 429, "the right one waits, too"


def test_whoever_leaves_is_out(app: FastAPI) -> None:
    viewer = enter(app, "viewer" * 8)
    cookie = viewer.client.cookies["charter-studio-8765"]
    assert viewer.post("/leave", {}).status_code == 303
    again = browse(app).get("/", headers={"Cookie": f"charter-studio-8765={cookie}"})
    assert again.status_code == 401


@pytest.mark.parametrize(
    ("role", "path", "fields", "status"),
    [
        ("viewer", "/runs/one/votes", {"action": "propose", "text": "a rule"}, 403),
        ("reviewer", "/runs/one/votes", {"action": "approve", "rule": "p-1"}, 403),
        ("reviewer", "/runs/one/votes", {"action": "add", "text": "a rule"}, 403),
        ("approver", "/runs/one/resume", {}, 403),
        ("approver", "/start", {"recipe": "iteralign", "name": "new"}, 403),
        ("approver", "/runs/one/votes", {"action": "release"}, 400),
        ("approver", "/runs/one/votes", {"action": "approve"}, 400),
        ("approver", "/runs/none/votes", {"action": "approve", "rule": "p-1"}, 404),
        ("admin", "/start", {"recipe": "iteralign", "name": "../new"}, 400),
        ("admin", "/start", {"recipe": "iteralign", "name": "one"}, 400),
        ("admin", "/start", {"recipe": "../../spec", "name": "new"}, 400),
        ("admin", "/runs/none/resume", {}, 404),
    ],
)
def test_a_role_does_what_it_may(app: FastAPI, role: str, path: str, fields: dict[str, str], status: int) -> None:
    assert enter(app, role * 8).post(path, fields).status_code == status
    assert "No decision yet." in enter(app, "viewer" * 8).read("/runs/one/constitution")


def test_a_viewer_is_shown_no_form_to_decide(app: FastAPI) -> None:
    page = enter(app, "viewer" * 8).read("/runs/one/constitution")
    assert "Approve" not in page
    assert "A new rule" not in page
    assert enter(app, "viewer" * 8).client.get("/start").status_code == 403


def test_the_host_is_named_once(app: FastAPI) -> None:
    answer = browse(app).get("/", headers=[("Host", HOST), ("Host", "evil.example")])
    assert answer.status_code in (401, 421)
    assert enter(app, "viewer" * 8).client.get("/", headers={"Host": "LOCALHOST:8765"}).status_code == 200
