"""Malformed requests of every address, made by schemathesis from an OpenAPI description of the studio's pages and forms:
none is an error of the server's, and what is too large is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from charter.reports.integrity import verify_run
from charter.studio import run_processes
from charter.studio.application import FORMS, ROUTES
from charter.studio.gatekeeper import MAX_BODY_BYTES, MAX_FIELDS, MAX_URL_BYTES
from charter.studio.sessions import StudioAccess
from tests.fakes.recorded_run import tell
from tests.fakes.reviewed_runs import make_queue, record_run
from tests.fakes.studio_client import ORIGIN, Browser, enter, open_studio

if TYPE_CHECKING:
    from schemathesis import Case
    from schemathesis.schemas import BaseSchema

schemathesis: Any = pytest.importorskip("schemathesis")
pytestmark = pytest.mark.slow

KNOWN = {
    "run": ["one", "rated"],
    "queue": ["q1"],
    "folder": ["000", "001"],
    "step": ["exchanges", "verdicts", "heldout_exchanges", "constitution"],
    "rule": ["p-1", "p-2"],
    "key": ["x1", "@1"],
}
"""Parts of an address that lead somewhere; half of what is sent is anything else."""
QUERY = ("q", "field", "value", "page", "only", "run", "done", "kept", "left", "token")
FIELDS = ("action", "rule", "wording", "note", "title", "text", "merge p-2", "name", "recipe", "kind", "count", "raters",
          "label", "pass", "comment", "corrected", "seen", "token")  # fmt: skip
WORDS = ["approve", "merge", "tag", "pairs", "harmful", "first", "1", "1.0", "p-1", "\x00", "\ud7ff", "é\u202e", ""]
ANY_TEXT = {"anyOf": [{"type": "string"}, {"type": "string", "enum": WORDS}]}
PER_ADDRESS = 25
STREAMS = "/runs/{run}/events"
"""It goes on for as long as a run is at work; ``test_live_events`` tries it."""


def describe_studio() -> dict[str, Any]:
    """The studio in OpenAPI 3.1: its addresses with their parts, queries and forms."""
    paths: dict[str, dict[str, Any]] = {}
    for method, addresses in (("get", ROUTES), ("post", FORMS)):
        for address in addresses:
            path = address.replace(":path", "")
            names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
            given = [_parameter("path", name, KNOWN.get(name, [])) for name in names]
            given += [_parameter("query", name, WORDS) for name in QUERY if method == "get"]
            form = {"type": "object", "properties": dict.fromkeys(FIELDS, ANY_TEXT)}
            body = {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}}
            operation = {"parameters": given, "responses": {"default": {"description": "a page"}}}
            if address != STREAMS:
                paths.setdefault(path, {})[method] = operation | ({"requestBody": body} if method == "post" else {})
    return {"openapi": "3.1.0", "info": {"title": "studio", "version": "1"}, "paths": paths}


def _parameter(place: str, name: str, known: list[str]) -> dict[str, Any]:
    text = {"anyOf": [{"type": "string", "minLength": 1}, *([{"type": "string", "enum": known}] if known else [])]}
    return {"in": place, "name": name, "required": place == "path", "schema": text}


DESCRIBED: BaseSchema = schemathesis.openapi.from_dict(describe_studio())
OPERATIONS = {f"{found.ok().method} {found.ok().path}": found.ok() for found in DESCRIBED.get_all_operations()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("runs")
    tell(found / "one")
    record_run(found / "rated")
    make_queue(found / "rated", "pairs", count=3, raters=2)
    return found


@pytest.fixture(scope="module")
def admin(root: Path) -> Browser:
    return enter(open_studio(root, StudioAccess("admin", "Eve", "eve" * 20)), "eve" * 20)


@pytest.fixture(scope="module")
def mark(admin: Browser) -> str:
    return admin.mark()


@pytest.fixture(autouse=True)
def _no_run_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_processes, "PROGRAM", (sys.executable, "-c", "pass"))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_request_is_an_error_of_the_server(admin: Browser, mark: str, operation: str) -> None:
    seen = list[int]()

    @given(case=OPERATIONS[operation].as_strategy())
    @settings(
        max_examples=PER_ADDRESS,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Case) -> None:
        if isinstance(case.body, dict):
            case.body["csrf"] = mark
        sent = case.as_transport_kwargs(base_url=ORIGIN, headers={"Origin": ORIGIN})
        sent.pop("cookies", None)
        answer = admin.client.request(**sent)
        seen.append(answer.status_code)
        assert answer.status_code < 500, (sent, answer.text[-2000:])

    send()
    assert len(seen) >= PER_ADDRESS // 2


def test_the_runs_are_whole_after_all_that(root: Path) -> None:
    assert [str(fault) for name in ("one", "rated") for fault in verify_run(root / name).faults] == []


@pytest.mark.parametrize("path", ["/runs/one/votes", "/runs/rated/reviews/q1/next", "/enter", "/nothing"])
def test_what_is_too_large_is_refused(admin: Browser, mark: str, path: str) -> None:
    def post(body: bytes, **headers: str) -> int:
        usual = {"Origin": ORIGIN, "Content-Type": "application/x-www-form-urlencoded"}
        return int(admin.client.post(path, content=body, headers={**usual, **headers}).status_code)

    large = f"csrf={mark}&text={'a' * MAX_BODY_BYTES}".encode()
    assert post(large) == 413
    assert post(b"a=1", **{"Content-Length": str(10**15)}) == 413
    assert post(b"&".join(b"a=1" for _ in range(MAX_FIELDS + 1))) == 400
    assert post(b"text=\xff") == 400
    assert post(b"{}", **{"Content-Type": "application/json"}) == 415
    assert admin.client.get(f"/?q={'a' * MAX_URL_BYTES}").status_code == 414
