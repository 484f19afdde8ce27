"""The proxy that makes calls go wrong: what it does, and what a run makes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from charter.errors import EngineError
from charter.models.engines.remote_engine import RemoteEngine, RemoteOptions
from charter.organism.fault_proxy import CONTENT_FAULTS, TRANSPORT_FAULTS, FaultRates, run_fault_proxy, spoil_answer
from charter.records.chat import Completion
from charter.records.record import digest
from tests.fakes import openai_server
from tests.fakes.tiny_models import ask

pytestmark = pytest.mark.slow

pytest.importorskip("inspect_ai")

ASKED = [ask(f"r{n}", f"text {n}") for n in range(60)]
VERDICT = '{"rationale": "so", "label": "harmful", "severity": 2}'


def answered(url: str) -> dict[str, Completion]:
    engine = RemoteEngine("m", RemoteOptions(base_url=url, first_wait=0.01, timeout=5))
    try:
        return {completion.id: completion for completion in engine.generate(ASKED)}
    finally:
        engine.close()


def test_transport_faults_change_no_answer() -> None:
    with openai_server.serve(lambda body: {"text": body["messages"][0]["content"][::-1]}) as server:
        quiet = answered(server.url)
        faults = FaultRates(transport=0.4, hang=0.05, retry_after=0.02)
        with run_fault_proxy(server.url, faults) as (url, traffic):
            noisy = answered(url)
    assert noisy == quiet
    assert set(TRANSPORT_FAULTS) <= set(traffic.calls)
    assert traffic.calls["fine"] == len(ASKED)
    assert traffic.repeated == 0


def test_content_faults_depend_on_what_is_asked_alone() -> None:
    with (
        openai_server.serve(lambda _: {"text": VERDICT}) as server,
        run_fault_proxy(server.url, FaultRates(content=0.5, seed=3)) as (url, traffic),
    ):
        first, again = answered(url), answered(url)
    assert first == again
    assert set(traffic.calls) == {"fine", *CONTENT_FAULTS}
    assert {c.text == VERDICT for c in first.values()} == {True, False}
    assert traffic.repeated == len(ASKED)


@pytest.mark.parametrize("fault", CONTENT_FAULTS)
def test_spoilt_answers_are_answers_still(fault: str) -> None:
    def answer(text: str) -> bytes:
        return json.dumps({"id": "x", "choices": [{"message": {"role": "assistant", "content": text}}]}).encode()

    text = json.loads(spoil_answer(answer(VERDICT), fault))["choices"][0]["message"]["content"]
    try:
        label = json.loads(text)["label"]
    except ValueError:
        label = None
    assert label == {"off the menu": "undecided"}.get(fault)
    assert spoil_answer(b"no json", fault) == b"no json"
    assert spoil_answer(b'{"data": []}', fault) == b'{"data": []}'


def test_shares_and_seeds() -> None:
    bodies = [f"body {n}".encode() for n in range(2000)]
    one, two = FaultRates(transport=0.2), FaultRates(transport=0.2, seed=1)
    struck = [one.transport_fault(body, 0) for body in bodies]
    assert 0.17 < sum(fault is not None for fault in struck) / len(bodies) < 0.23
    assert struck == [one.transport_fault(body, 0) for body in bodies]
    assert struck != [two.transport_fault(body, 0) for body in bodies]
    assert struck != [one.transport_fault(body, 1) for body in bodies]
    assert not any(FaultRates().transport_fault(body, 0) or FaultRates().content_fault(body) for body in bodies)


def test_a_server_that_is_down_and_a_port_that_is_taken() -> None:
    with openai_server.serve(lambda _: {"text": "x"}) as server:
        gone = server.url
    with run_fault_proxy(gone, FaultRates()) as (url, traffic):
        engine = RemoteEngine("m", RemoteOptions(base_url=url, give_up_after=0))
        with pytest.raises(EngineError, match="does not answer"):
            list(engine.generate(ASKED[:1]))
        engine.close()
        assert set(traffic.calls) == {"upstream"}
        with (
            pytest.raises(EngineError, match="cannot be used"),
            run_fault_proxy(gone, FaultRates(), int(url.split(":")[2][:-3])),
        ):
            pass


def test_as_a_process_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with openai_server.serve(lambda _: {"text": VERDICT}) as server:
        words = ["organism", "faults", server.url, "--transport", "0", "--content", "1", "--log", str(log)]
        child = subprocess.Popen(
            [sys.executable, "-m", "charter.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        url = child.stdout.readline().strip()
        body = {"model": "m", "messages": [{"role": "user", "content": "my secret words"}]}
        asked = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode())
        with urllib.request.urlopen(asked) as answer:
            assert json.load(answer)["choices"][0]["message"]["content"] != VERDICT
        child.terminate()
        _, said = child.communicate(timeout=20)
    assert child.returncode == 0
    (line,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert line["what"] in CONTENT_FAULTS
    assert f"{line['what']}: 1" in said
    assert "secret" not in log.read_text()


@pytest.mark.parametrize("faults", [FaultRates(transport=0.2, hang=0.05, retry_after=0.02), FaultRates(content=0.2)])
def test_kills_while_calls_go_wrong_leave_the_same_run(faults: FaultRates, tmp_path: Path) -> None:
    n = 20 if os.environ.get("CHARTER_FULL") else 4
    with (
        openai_server.serve(lambda body: {"text": digest(body["messages"])[:12]}) as server,
        run_fault_proxy(server.url, faults) as (url, traffic),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "tests.fakes.killed_http_runs", str(tmp_path), url, str(n), "1"],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["kills"] >= n
    assert set(traffic.calls) > {"fine"}
