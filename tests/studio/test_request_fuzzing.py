"""Malformed requests of every address, made by schemathesis from an OpenAPI description of the studio: none is an error
of the server's, and what is too large is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from charter.jobs.review_desk import Answer, Rater, ReviewDesk
from charter.jobs.review_votes import decide_rules
from charter.records.rule_decisions import digest_wording
from charter.records.rules import Principle
from charter.reports.integrity import verify_run
from charter.runs.stored_queues import read_queue
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

FORM = "application/x-www-form-urlencoded"
PARTS = {
    "run": ["rated"],
    "queue": ["q1"],
    "folder": ["000"],
    "step": ["heldout_exchanges"],
    "rule": ["p-1", "p-2"],
    "key": ["@1", "@8"],
}
"""Parts of an address that lead somewhere; the items of the queue are known once it is drawn."""
QUERY = ("q", "field", "value", "page", "only", "done", "kept", "left", "token")
FIELDS = {
    "action": ["approve", "propose", "tag", "merge", "edit"],
    "rule": ["p-1"],
    "wording": [digest_wording(Principle(id="p-1", title="p-1", text="Never help with arson."))],
    "merge p-2": ["1"],
    "kind": ["pairs", "rules"],
    "label": ["first", "equal", "unsure"],
    "count": ["1", "2", ""],
    "raters": ["1", "2", ""],
    "name": ["1.0", "2.0-b"],
    "seen": [""],
    **{key: ["words"] for key in ("note", "title", "text", "recipe", "comment", "corrected")},
}
"""What forms say, with what is right."""
WORDS = ["0", "1", "-1", "p-2", "\x00", "\ud7ff", "é\u202e<b>"]
PER_ADDRESS = 16
STREAMS = "/runs/{run}/events"
"""It goes on for as long as a run is at work; ``test_live_events`` tries it."""
ADDRESSES = [
    (method, address.replace(":path", ""))
    for method, addresses in (("get", ROUTES), ("post", FORMS))
    for address in addresses
    if address != STREAMS
]
LEADS_NOWHERE = {("post", "/start"), ("post", "/runs/{run}/chat")}
"""No recipe is among the words, and no run has a model."""


def describe_studio(known: Mapping[str, Sequence[str]]) -> BaseSchema:
    """The studio in OpenAPI 3.1. Where parts of addresses are ``known``, these and the words above are sent, else any
    text at all."""
    paths: dict[str, dict[str, Any]] = {}

    def describe_text(right: Sequence[str]) -> dict[str, Any]:
        return {"type": "string", **({"enum": [*right, WORDS[len(right[0]) % len(WORDS)]]} if known else {})}

    for method, path in ADDRESSES:
        names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        given: list[dict[str, Any]] = [
            {"in": "path", "name": name, "required": True, "schema": _describe_part(known.get(name))} for name in names
        ]
        given += [{"in": "query", "name": name, "schema": describe_text(("x",))} for name in QUERY if method == "get"]
        operation: dict[str, Any] = {"parameters": given, "responses": {"default": {"description": "a page"}}}
        if method == "post":
            form = {
                "type": "object",
                "required": [*(FIELDS if known else ())],
                "properties": {name: describe_text(right) for name, right in FIELDS.items()},
            }
            operation["requestBody"] = {"required": True, "content": {FORM: {"schema": form}}}
        paths.setdefault(path, {})[method] = operation
    info = {"title": "studio", "version": "1"}
    described: BaseSchema = schemathesis.openapi.from_dict({"openapi": "3.1.0", "info": info, "paths": paths})
    return described


def _describe_part(known: Sequence[str] | None) -> dict[str, Any]:
    return {"type": "string", "enum": list(known)} if known else {"type": "string", "minLength": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("runs")
    tell(found / "one")
    record_run(found / "rated")
    make_queue(found / "rated", "pairs", count=3, raters=2)
    with ReviewDesk(found / "rated", "q1") as desk:
        for rater, label in (("Bo", "first"), ("Cy", "second")):
            desk.submit_label(Rater(rater), Answer(next(iter(desk.items)), label))
    make_queue(found / "rated", "rules")
    with ReviewDesk(found / "rated", "q2") as desk:
        desk.submit_labels([(Rater("Bo", "approver"), Answer(item, "approve")) for item in desk.items])
    decide_rules(found / "rated", "q2")
    return found


@pytest.fixture(scope="module")
def admin(root: Path) -> Iterator[Browser]:
    app = open_studio(root, StudioAccess("admin", "Eve", "eve" * 20))
    yield enter(app, "eve" * 20)
    for started in app.state.studio.processes.started:
        started.process.wait(60)


@pytest.fixture(scope="module")
def mark(admin: Browser) -> str:
    return admin.mark()


@pytest.fixture(autouse=True)
def _no_run_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_processes, "PROGRAM", (sys.executable, "-c", "pass"))


@pytest.mark.parametrize("kind", ["known", "any"])
@pytest.mark.parametrize(("method", "path"), ADDRESSES)
def test_no_request_is_an_error_of_the_server(
    root: Path, admin: Browser, mark: str, method: str, path: str, kind: str
) -> None:
    items = [item.id for item in read_queue(root / "rated", "q1").items]
    items = items[:1] if "disputes" in path else items[1:]
    queues = {"queue": ["q2"]} if path.endswith("/decide") else {}
    described = describe_studio({**PARTS, **queues, "item": items} if kind == "known" else {})
    seen = list[int]()

    @given(case=described[path][method].as_strategy())
    @settings(
        max_examples=PER_ADDRESS,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Case[Any]) -> None:
        if isinstance(case.body, dict):
            case.body["csrf"] = mark
        sent = case.as_transport_kwargs(base_url=ORIGIN, headers={"Origin": ORIGIN})
        sent.pop("cookies", None)
        answer = admin.client.request(**sent)
        seen.append(answer.status_code)
        assert answer.status_code < 500, (sent, answer.text[-2000:])

    send()
    assert len(seen) >= PER_ADDRESS // 2
    if kind == "known" and (method, path) not in LEADS_NOWHERE:
        assert {200, 303} & set(seen), "nothing got past the doors"


def test_the_runs_are_whole_after_all_that(root: Path) -> None:
    assert [str(fault) for name in ("one", "rated") for fault in verify_run(root / name).faults] == []


@pytest.mark.parametrize("path", ["/runs/one/votes", "/runs/rated/reviews/q1/next", "/enter", "/nothing"])
def test_what_is_too_large_is_refused(admin: Browser, mark: str, path: str) -> None:
    def post(body: bytes, **headers: str) -> int:
        usual = {"Origin": ORIGIN, "Content-Type": FORM}
        return int(admin.client.post(path, content=body, headers={**usual, **headers}).status_code)

    large = f"csrf={mark}&text={'a' * MAX_BODY_BYTES}".encode()
    assert post(large) == 413
    assert post(b"a=1", **{"Content-Length": str(10**15)}) == 413
    assert post(b"&".join(b"a=1" for _ in range(MAX_FIELDS + 1))) == 400
    assert post(b"text=\xff") == 400
    assert post(b"{}", **{"Content-Type": "application/json"}) == 415
    assert admin.client.get(f"/?q={'a' * MAX_URL_BYTES}").status_code == 414
