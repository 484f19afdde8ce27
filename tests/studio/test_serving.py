"""Where the studio listens, and the studio over real HTTP."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from charter.errors import SpecError, StoreError
from charter.studio.serving import ListeningPlace, describe_place, require_safe_place, serve_studio
from tests.fakes.recorded_run import tell


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_this_machine_alone_needs_no_tls(host: str) -> None:
    require_safe_place(ListeningPlace(host))
    assert describe_place(ListeningPlace(host), 9).scheme == "http"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "studio.example", ""])
def test_other_machines_need_tls_or_a_word(host: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="there is no TLS"):
        require_safe_place(ListeningPlace(host))
    with pytest.raises(SpecError, match="there is no TLS"):
        serve_studio(tmp_path, (), ListeningPlace(host), lambda access, url: None)
    require_safe_place(ListeningPlace(host, insecure=True))
    require_safe_place(ListeningPlace(host, certificate=tmp_path, key=tmp_path))
    with pytest.raises(SpecError, match="its key"):
        require_safe_place(ListeningPlace(host, certificate=tmp_path))


def test_the_names_that_are_right() -> None:
    assert describe_place(ListeningPlace(), 9).hosts == {"127.0.0.1:9", "localhost:9", "[::1]:9"}
    place = ListeningPlace("0.0.0.0", name="Studio.example", insecure=True)
    assert describe_place(place, 9).hosts == {"0.0.0.0:9", "studio.example:9"}
    assert "studio.example" in describe_place(place, 80).hosts


def test_a_wrong_folder_and_a_taken_port_are_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is no folder"):
        serve_studio(tmp_path / "none", (), ListeningPlace(), lambda access, url: None)
    with pytest.raises(SpecError, match="cannot be used"):
        serve_studio(tmp_path, (), ListeningPlace(port=1 << 17), lambda access, url: None)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The command at work: role -> address with its token."""
    root = tmp_path_factory.mktemp("runs")
    tell(root / "one")
    words = ["studio", str(root), "--port", "0", "--role", "viewer:Vi", "--role", "approver:Ada"]
    process = subprocess.Popen(
        [sys.executable, "-m", "charter.cli", *words], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    yield {line.split()[0]: line.split()[-1] for line in lines}
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    process.stdout.close()


def ask(url: str, path: str, **headers: str) -> tuple[int, str, str]:
    """Status, body and cookie of a raw path, sent as it stands."""
    host = re.findall("//([^/]+)/", url)[0]
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    found = (answer.status, answer.read().decode(errors="replace"), answer.getheader("set-cookie") or "")
    connection.close()
    return found


@pytest.mark.slow
def test_the_printed_address_lets_in_and_nothing_else_does(served: dict[str, str]) -> None:
    assert list(served) == ["viewer", "approver"]
    url = served["approver"]
    assert ask(url, "/")[0] == 401
    status, _, cookie = ask(url, "/" + url.split("/", 3)[3])
    assert status == 303
    held = {"Cookie": cookie.split(";")[0]}
    status, page, _ = ask(url, "/runs/one", **held)
    assert (status, "Ada, approver" in page) == (200, True)
    raw = (
        "/runs/../../etc/passwd",
        "/runs/one/../../x",
        "/static/../__init__.py",
        "/static/%2e%2e/__init__.py",
        "/static/..%2f__init__.py",
        "/runs/%2e%2e",
        "/runs/one/steps/..%2f..%2f/x",
        "//evil.example/",
        "/runs/one%00",
    )
    for path in raw:
        status, page, _ = ask(url, path, **held)
        assert (status, "root:" in page, '"""' in page) == (404, False, False), path
    assert ask(url, "/", Host="evil.example", **held)[0] == 421
