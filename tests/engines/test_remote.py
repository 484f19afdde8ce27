"""The remote engine against a real server on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from charter.engines.remote import RemoteEngine, RemoteOptions
from charter.errors import EngineError
from charter.nouns import Message, Request, Sampling, ScoreRequest
from tests.loopback import Reply, Server, serve
from tests.tiny import ask

pytest.importorskip("inspect_ai")

SECRET = "sk-very-secret-value"


@contextmanager
def talking(reply: Reply, **options: Any) -> Iterator[tuple[RemoteEngine, Server]]:
    with serve(reply) as server:
        engine = RemoteEngine("tiny", RemoteOptions(base_url=server.url, **{"max_retries": 0, **options}))
        try:
            yield engine, server
        finally:
            engine.close()


def echo(body: dict[str, Any]) -> dict[str, Any]:
    return {"text": f" {body['messages'][-1]['content']}! "}


def test_sends_what_was_asked_and_reads_the_answer() -> None:
    schema = {"type": "object", "properties": {"label": {"type": "string", "enum": ["a", "b"]}}, "required": ["label"]}
    request = Request(
        id="r",
        messages=(Message(role="system", content="s"), Message(role="user", content="hi there")),
        sampling=Sampling(temperature=0.7, top_p=0.9, max_tokens=11, stop=("END",), frequency_penalty=0.5),
        seed=2**40 + 5,
        response_schema=schema,
    )
    with talking(echo) as (engine, server):
        (found,) = engine.generate([request])
    assert (found.text, found.stop, found.tokens_in, found.tokens_out) == ("hi there!", "stop", 3, 2)
    (sent,) = server.seen
    assert sent["model"] == "tiny"
    assert [(turn["role"], turn["content"]) for turn in sent["messages"]] == [("system", "s"), ("user", "hi there")]
    assert {key: sent[key] for key in ("temperature", "top_p", "max_tokens", "stop", "frequency_penalty", "seed")} == {
        "temperature": 0.7, "top_p": 0.9, "max_tokens": 11, "stop": ["END"], "frequency_penalty": 0.5, "seed": 5,
    }  # fmt: skip
    asked = sent["response_format"]["json_schema"]["schema"]
    assert asked["properties"]["label"]["enum"] == ["a", "b"]
    assert asked["required"] == ["label"]


def test_keeps_within_its_connections() -> None:
    together = threading.Barrier(3, timeout=10)

    def slow(body: dict[str, Any]) -> dict[str, Any]:
        together.wait()
        return echo(body)

    with talking(slow, max_connections=3) as (engine, server):
        found = list(engine.generate([ask(f"r{n}", f"text {n}") for n in range(12)]))
    assert {completion.text for completion in found} == {f"text {n}!" for n in range(12)}
    assert server.most == 3


def test_a_cut_answer_and_a_filtered_one_are_told_apart() -> None:
    finish = {"long": "length", "bad": "content_filter", "good": "stop"}
    with talking(lambda body: {"text": "x", "finish": finish[body["messages"][0]["content"]]}) as (engine, _):
        found = {completion.id: completion for completion in engine.generate([ask(key, key) for key in finish])}
    assert (found["long"].stop, found["good"].stop) == ("length", "stop")
    assert (found["bad"].text, found["bad"].stop) == ("", "error")
    assert "filter" in found["bad"].error


def test_a_refused_request_fails_alone() -> None:
    def choosy(body: dict[str, Any]) -> dict[str, Any]:
        refused = body["messages"][0]["content"] == "r1"
        return {"status": 400, "error": "prompt is too long"} if refused else echo(body)

    with talking(choosy) as (engine, _):
        found = {completion.id: completion for completion in engine.generate([ask(f"r{n}", f"r{n}") for n in range(3)])}
    assert "too long" in found["r1"].error
    assert (found["r0"].text, found["r2"].text) == ("r0!", "r2!")


def test_what_passes_is_retried() -> None:
    answers: Iterator[dict[str, Any]] = iter(
        [{"status": 500, "error": "busy"}, {"status": 429, "error": "slow down"}, {"text": "at last"}]
    )
    with talking(lambda _: next(answers)) as (engine, server):
        (found,) = engine.generate([ask("r", "x")])
    assert (found.text, len(server.seen)) == ("at last", 3)


def test_a_server_that_fails_for_one_request_does_not_stop_the_rest() -> None:
    def moody(body: dict[str, Any]) -> dict[str, Any]:
        return {"status": 500, "error": "no"} if body["messages"][0]["content"] == "r1" else echo(body)

    with talking(moody) as (engine, _):
        found = {completion.id: completion for completion in engine.generate([ask(f"r{n}", f"r{n}") for n in range(4)])}
    assert {key for key, completion in found.items() if completion.error} == {"r1"}


@pytest.mark.parametrize(("status", "cure"), [(503, "resume"), (401, "API key"), (404, "name")])
def test_a_server_that_is_not_there_for_us_ends_the_step(
    status: int, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARTER_API_KEY", SECRET)
    with (
        talking(lambda _: {"status": status, "error": f"key {SECRET} refused"}) as (engine, server),
        pytest.raises(EngineError) as caught,
    ):
        list(engine.generate([ask("r", "x"), ask("s", "y")]))
    assert cure in caught.value.cure
    assert server.seen[0]["key"] == f"Bearer {SECRET}"
    assert SECRET not in str(caught.value)
    assert SECRET not in engine.identity


def test_no_server_is_an_error_and_so_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(echo) as server:
        closed = server.url
    engine = RemoteEngine("tiny", RemoteOptions(base_url=closed, max_retries=0))
    with pytest.raises(EngineError, match="does not answer"):
        list(engine.generate([ask("r", "x")]))
    engine.close()
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(EngineError, match="OPENAI_API_KEY"):
        list(RemoteEngine("openai/gpt-x").generate([ask("r", "x")]))
    with pytest.raises(EngineError, match="cannot be set up"):
        list(RemoteEngine("no-such-provider/x").generate([ask("r", "x")]))


def test_giving_up_half_way_leaves_the_engine_usable() -> None:
    with talking(echo, max_connections=2) as (engine, _):
        first = next(engine.generate([ask(f"r{n}", "x") for n in range(9)]))
        again = list(engine.generate([ask(f"r{n}", "x") for n in range(9)]))
    assert first.text == "x!"
    assert len(again) == 9


def test_offline_leaves_only_loopback() -> None:
    with talking(echo, offline=True) as (engine, _):
        assert [completion.text for completion in engine.generate([ask("r", "x")])] == ["x!"]
    for options in (RemoteOptions(offline=True), RemoteOptions(offline=True, base_url="http://example.org/v1")):
        with pytest.raises(EngineError, match="offline"):
            RemoteEngine("openai/gpt-x", options)


def test_gives_no_log_likelihoods_and_keeps_credentials_out_of_its_name() -> None:
    engine = RemoteEngine("m", RemoteOptions(base_url=f"http://user:{SECRET}@127.0.0.1:1/v1"))
    assert engine.identity == "remote:m@127.0.0.1:1"
    asked = [ScoreRequest(id="s", messages=(Message(role="user", content="q"),), completion="a")]
    with pytest.raises(EngineError, match="log-likelihoods"):
        list(engine.score(asked))
