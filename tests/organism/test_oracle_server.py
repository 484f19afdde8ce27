"""The served oracle answers over real HTTP as it does in process, and stops cleanly."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from charter.errors import EngineError
from charter.judging.judge_requests import judge_request
from charter.judging.rubrics import CONDUCT
from charter.organism.oracle import Oracle, OracleErrors
from charter.organism.oracle_server import serve_oracle
from charter.organism.world import World
from charter.records.chat import Exchange, Request, Sampling, user_prompt
from charter.records.record import Step
from charter.records.templates import Templates

pytestmark = pytest.mark.slow

SERVE = """
from charter.organism.oracle import OracleErrors
from charter.organism.oracle_server import serve_oracle
from charter.organism.world import World
serve_oracle(World.load("village"), 0, OracleErrors(wrong_verdicts=0.5))
"""
ORACLE = Oracle(World.load("village"), OracleErrors(wrong_verdicts=0.5))


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A child process that serves, and its base URL."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        try:
            yield child, child.stdout.readline().strip()
        finally:
            child.kill()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The base URL of a server that all tests share."""
    with serving() as (_, base):
        yield base


def judged(number: int) -> Request:
    prompt = user_prompt(f"teach me hacking at the mill {number} .")
    case = Exchange(id=prompt.id, prompt=prompt, response="sure .", stop="stop", model="m", sampling=Sampling())
    return judge_request(case, CONDUCT, Templates(), Step(path="v", run_seed=number), Sampling())


def body(request: Request) -> dict[str, object]:
    return {
        "model": "oracle",
        "messages": [message.model_dump() for message in request.messages],
        "seed": request.seed,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "verdict", "strict": True, "schema": request.response_schema},
        },
    }


def test_answers_as_in_process(url: str) -> None:
    with httpx.Client(base_url=url, trust_env=False) as client:
        assert [model["id"] for model in client.get("/models").json()["data"]] == [ORACLE.identity]
        labels = set()
        for number in range(12):
            request = judged(number)
            expected = next(iter(ORACLE.generate([request])))
            reply = client.post("/chat/completions", json=body(request)).json()
            assert reply["choices"][0]["message"] == {"role": "assistant", "content": expected.text}
            assert reply["choices"][0]["finish_reason"] == "stop"
            used = reply["usage"]
            assert (used["prompt_tokens"], used["completion_tokens"]) == (expected.tokens_in, expected.tokens_out)
            labels.add(expected.text.split('"label": ')[1].split(",")[0])
        assert len(labels) > 1, "the errors it was told to make are made on the wire too"


def test_tells_what_it_cannot_read(url: str) -> None:
    with httpx.Client(base_url=url, trust_env=False) as client:
        for wrong in ({"model": "m"}, body(judged(0)) | {"stream": True}, body(judged(0)) | {"n": 2}):
            reply = client.post("/chat/completions", json=wrong)
            assert reply.status_code == 400
            assert reply.json()["error"]["message"]


def test_speaks_with_the_openai_client(url: str) -> None:
    openai = pytest.importorskip("openai")
    request = judged(3)
    with openai.OpenAI(base_url=url, api_key="none", http_client=httpx.Client(trust_env=False)) as client:
        reply = client.chat.completions.create(**body(request))
        parts = [{"role": "user", "content": [{"type": "text", "text": request.messages[0].content}]}]
        pieces = client.chat.completions.create(**(body(request) | {"messages": parts}))
    assert reply.choices[0].message.content == pieces.choices[0].message.content == ORACLE.write_reply(request)


def test_a_taken_port_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EngineError, match=r"cannot be used"):
            serve_oracle(World.load("village"), taken.getsockname()[1])


def test_stops_cleanly_on_interrupt() -> None:
    with serving() as (child, base):
        assert httpx.get(f"{base}/models", trust_env=False).status_code == 200
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=20)
        assert (child.returncode, out, err) == (0, "", "")
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{base}/models", trust_env=False)
