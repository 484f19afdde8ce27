"""Notices of a run to those who do not watch it: by webhook, by a command, by mail."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import smtplib
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path

from charter.errors import BudgetError, CharterError, UnavailableError, UndecidedError
from charter.records.decisions import Decision
from charter.records.record import Record
from charter.reports.audit_comparison import read_audit
from charter.runs.reader import RunReader
from charter.spec.notify_spec import EmailSpec, NoticeKind, NotifySpec

SECONDS = 15.0
"""The longest that a server or a command may take."""
_KINDS: Mapping[type[CharterError], NoticeKind] = {
    UndecidedError: "undecided",
    BudgetError: "paused",
    UnavailableError: "paused",
}


class Notice(Record):
    """What happened, and what to do. ``run`` is the folder's name: no path and no text of a model leaves the machine
    but what the message says."""

    kind: NoticeKind
    run: str
    message: str
    cure: str = ""


@contextmanager
def notify_of_run(spec: NotifySpec, directory: Path, tell: Callable[[str], None] | None) -> Iterator[None]:
    """While a run is at work: whoever the spec names is told how it ended. What goes wrong with a notice is told."""
    try:
        yield
    except CharterError as error:
        kind = next((kind for cause, kind in _KINDS.items() if isinstance(error, cause)), "failed")
        _send_all(spec, [Notice(kind=kind, run=directory.name, message=error.message, cure=error.cure)], tell)
        raise
    except Exception as error:
        _send_all(spec, [Notice(kind="failed", run=directory.name, message=type(error).__name__)], tell)
        raise
    if spec.is_on:
        _send_all(spec, list_notices(RunReader(directory)), tell)


def list_notices(reading: RunReader) -> list[Notice]:
    """What a finished run has to tell: policies that failed their gates, drift, and that it is finished."""
    found = []
    for folder in reading.iterations:
        for decision in reading.records(f"{folder}/decision", Decision):
            if decision.action in ("roll_back", "give_up"):
                message = f"{folder}: {decision.reason}"
                found.append(Notice(kind="gate failed", run=reading.name, message=message, cure="See charter report."))
    audit = read_audit(reading)
    if audit is not None and audit.exit_code == 1:
        lost = [f"{line.id}: {line.state}" for line in audit.lines if line.state in ("broken", "weakened")]
        found.append(Notice(kind="drift", run=reading.name, message="; ".join(lost), cure="See charter report."))
    return [*found, Notice(kind="finished", run=reading.name, message=f"HEAD {reading.head}")]


def send_notice(spec: NotifySpec, notice: Notice) -> list[str]:
    """Gives a notice in every way that the spec names; what went wrong, a line each. No secret is in a line."""
    body = json.dumps(notice.model_dump(), sort_keys=True).encode()
    ways: list[tuple[str, Callable[[], None]]] = []
    if spec.webhook:
        ways.append(("webhook", lambda: _post(_find_url(spec.webhook), body, os.environ.get(spec.secret_env, ""))))
    if spec.command:
        ways.append(("command", lambda: _run(spec.command, body)))
    if (email := spec.email) is not None:
        ways.append(("email", lambda: _mail(email, notice)))
    faults = []
    for name, give in ways:
        try:
            give()
        except (OSError, subprocess.SubprocessError, smtplib.SMTPException, ValueError, CharterError) as error:
            faults.append(f"notify.{name}: not given: {type(error).__name__}: {_first_line(error)}")
    return faults


def sign_body(secret: str, body: bytes) -> str:
    """The signature of a webhook's body, as it stands in ``X-Charter-Signature``."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _send_all(spec: NotifySpec, notices: list[Notice], tell: Callable[[str], None] | None) -> None:
    for notice in notices:
        for fault in send_notice(spec, notice) if notice.kind in spec.about else ():
            if tell is not None:
                tell(fault)


def _find_url(webhook: str) -> str:
    return os.environ.get(webhook[4:], "") if webhook.startswith("env:") else webhook


def _post(url: str, body: bytes, secret: str) -> None:
    headers = {"Content-Type": "application/json", "User-Agent": "charter"}
    if secret:
        headers["X-Charter-Signature"] = sign_body(secret, body)
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=SECONDS) as reply:
        reply.read(1)


def _run(command: tuple[str, ...], body: bytes) -> None:
    subprocess.run(command, input=body, timeout=SECONDS, check=True, capture_output=True)


def _mail(email: EmailSpec, notice: Notice) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"] = email.sender, ", ".join(email.to)
    mail["Subject"] = f"charter: {' '.join(notice.run.split())}: {notice.kind}"
    mail.set_content(f"{notice.message}\n\n{notice.cure}\n")
    with smtplib.SMTP(email.host, email.port, timeout=SECONDS) as server:
        if email.tls:
            server.starttls()
        if email.user_env:
            server.login(os.environ.get(email.user_env, ""), os.environ.get(email.password_env, ""))
        server.send_message(mail)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]
