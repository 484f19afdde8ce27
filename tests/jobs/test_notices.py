"""Notices: signed, by real servers and programs, and never in the way of a run."""

from __future__ import annotations

import json
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from charter.errors import BudgetError, CharterError, TuningError, UndecidedError
from charter.jobs.notices import Notice, list_notices, notify_of_run, send_notice, sign_body
from charter.runs.reader import RunReader
from charter.spec import NotifySpec, parse_spec
from tests.fakes.recorded_run import tell

NOTICE = Notice(kind="undecided", run="one", message="2 rules wait", cure="Decide.")


@contextmanager
def web_server(status: int = 200) -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A server that keeps what it is sent."""
    seen: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", seen
    finally:
        server.shutdown()
        server.server_close()


class MailHandler(socketserver.StreamRequestHandler):
    """As much of SMTP as a client needs (RFC 5321)."""

    def handle(self) -> None:
        self.wfile.write(b"220 test\r\n")
        in_data, lines = False, list[bytes]()
        for line in self.rfile:
            if in_data and line == b".\r\n":
                in_data = False
                MAILS.append(b"".join(lines).decode())
                self.wfile.write(b"250 kept\r\n")
            elif in_data:
                lines.append(line)
            elif line.upper().startswith(b"DATA"):
                in_data = True
                self.wfile.write(b"354 go on\r\n")
            else:
                self.wfile.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 yes\r\n")


MAILS: list[str] = []


def test_a_webhook_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARTER_WEBHOOK_SECRET", "secret words")
    with web_server() as (url, seen):
        assert send_notice(NotifySpec(webhook=url), NOTICE) == []
        monkeypatch.setenv("HOOK", url)
        assert send_notice(NotifySpec(webhook="env:HOOK"), NOTICE) == []
    assert len(seen) == 2
    for headers, body in seen:
        assert json.loads(body) == NOTICE.model_dump()
        assert headers["X-Charter-Signature"] == sign_body("secret words", body) != sign_body("other words", body)


def test_a_command_reads_the_notice(tmp_path: Path) -> None:
    out = tmp_path / "said.json"
    program = f"import sys; open({str(out)!r}, 'w').write(sys.stdin.read())"
    assert send_notice(NotifySpec(command=(sys.executable, "-c", program)), NOTICE) == []
    assert json.loads(out.read_text(encoding="utf-8")) == NOTICE.model_dump()


def test_a_mail_is_sent() -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), MailHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        email = {"to": ["a@example.org"], "sender": "c@example.org", "port": server.server_address[1]}
        spec = NotifySpec.model_validate({"email": email})
        assert send_notice(spec, NOTICE.model_copy(update={"run": "one\nBcc: x@example.org"})) == []
        server.shutdown()
    (mail,) = MAILS
    assert "Subject: charter: one Bcc: x@example.org: undecided" in mail
    assert "2 rules wait" in mail


def test_what_cannot_be_given_is_told_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARTER_WEBHOOK_SECRET", "secret words")
    with web_server(status=500) as (url, _):
        command = (sys.executable, "-c", "raise SystemExit(3)")
        email = {"to": ["a@example.org"], "sender": "c@example.org", "port": 1}
        spec = NotifySpec.model_validate({"webhook": url, "command": command, "email": email})
        faults = send_notice(spec, NOTICE)
    assert [fault.split(":")[0] for fault in faults] == ["notify.webhook", "notify.command", "notify.email"]
    assert "secret" not in "".join(faults)
    assert len(send_notice(NotifySpec(webhook="env:NOT_SET_ANYWHERE"), NOTICE)) == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UndecidedError("2 rules wait"), "undecided"),
        (BudgetError("spent"), "paused"),
        (TuningError("no loss"), "failed"),
        (ValueError("text of a model"), "failed"),
    ],
)
def test_how_a_run_ended_is_told_and_the_error_goes_on(tmp_path: Path, error: Exception, kind: str) -> None:
    with web_server() as (url, seen):
        with pytest.raises(type(error)), notify_of_run(NotifySpec(webhook=url), tmp_path / "one", None):
            raise error
        ((_, body),) = seen
    said = json.loads(body)
    assert (said["kind"], said["run"]) == (kind, "one")
    assert said["message"] == (error.message if isinstance(error, CharterError) else "ValueError")


def test_what_nobody_asked_about_is_not_told(tmp_path: Path) -> None:
    with web_server() as (url, seen):
        with pytest.raises(BudgetError), notify_of_run(NotifySpec(webhook=url, about=("drift",)), tmp_path, None):
            raise BudgetError("spent")
        run = tell(tmp_path / "run")
        with notify_of_run(NotifySpec(webhook=url, about=("finished",)), run, None):
            pass
    assert [json.loads(body)["kind"] for _, body in seen] == ["finished"]


def test_a_finished_run_says_which_policies_failed_their_gates(tmp_path: Path) -> None:
    kinds = [notice.kind for notice in list_notices(RunReader(tell(tmp_path / "run")))]
    assert kinds[-1] == "finished"
    assert set(kinds) <= {"gate failed", "finished"}


def test_nobody_is_told_anything_unless_it_is_set() -> None:
    assert not parse_spec("world: village").notify.is_on
