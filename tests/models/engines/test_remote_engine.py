"""The remote engine against a real server on loopback."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from charter.errors import EngineError, UnavailableError
from charter.models.engines.remote_engine import RemoteEngine, RemoteOptions
from charter.ports import SupportsDrain, SupportsOverlap
from charter.records.chat import Completion, Message, Request, Sampling, ScoreRequest
from tests.fakes.openai_server import Reply, Server, serve
from tests.fakes.tiny_models import ask

pytest.importorskip("inspect_ai")

SECRET = "sk-very-secret-value"
LONGEST = 30
"""Seconds after which a test gives another thread up; where all is well none takes one."""


@contextmanager
def talking(reply: Reply, **options: Any) -> Iterator[tuple[RemoteEngine, Server]]:
    with serve(reply) as server:
        engine = RemoteEngine("tiny", RemoteOptions(base_url=server.url, **{"first_wait": 0.01, **options}))
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


def test_its_own_sampling_goes_beyond_what_is_asked() -> None:
    request = ask("r", "x", max_tokens=7)
    with talking(echo, sampling=Sampling(temperature=0.3, max_tokens=4000)) as (engine, server):
        list(engine.generate([request]))
    assert (server.seen[0]["max_tokens"], server.seen[0]["temperature"]) == (4000, 0.3)
    with talking(echo) as (engine, server):
        list(engine.generate([request]))
    assert (server.seen[0]["max_tokens"], server.seen[0]["temperature"]) == (7, 0)


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


def test_what_passes_is_asked_again() -> None:
    answers: Iterator[dict[str, Any]] = iter(
        [{"status": 500, "error": "busy"}, {"status": 429, "error": "slow down"}, {"torn": 0.5}, {"text": "at last"}]
    )
    with talking(lambda _: next(answers)) as (engine, server):
        (found,) = engine.generate([ask("r", "x")])
    assert (found.text, len(server.seen)) == ("at last", 4)


def test_nobody_asks_sooner_than_the_server_says() -> None:
    told, lock = [0.0], threading.Lock()

    def busy(body: dict[str, Any]) -> dict[str, Any]:
        with lock:
            if body["messages"][0]["content"] == "r3" and not told[0]:
                told[0] = time.monotonic()
                return {"status": 429, "error": "slow down", "headers": {"Retry-After": "0.3"}}
        return echo(body)

    with talking(busy, max_connections=1) as (engine, server):
        found = list(engine.generate([ask(f"r{n}", f"r{n}") for n in range(6)]))
    assert {c.text for c in found} == {f"r{n}!" for n in range(6)}
    later = [call["at"] for call in server.seen if call["at"] > told[0]]
    assert len(later) == 3
    assert min(later) >= told[0] + 0.3


def test_a_request_that_fails_always_fails_alone() -> None:
    def moody(body: dict[str, Any]) -> dict[str, Any]:
        return {"status": 500, "error": "no"} if body["messages"][0]["content"] == "r1" else echo(body)

    with talking(moody, max_retries=2, max_connections=1) as (engine, server):
        found = {completion.id: completion for completion in engine.generate([ask(f"r{n}", f"r{n}") for n in range(4)])}
    assert {key for key, completion in found.items() if completion.error} == {"r1"}
    said = [call["messages"][0]["content"] for call in server.seen]
    assert said == ["r0", "r1", "r1", "r1", "Answer: yes", "r2", "r3"]


def test_a_model_that_stays_away_pauses_and_what_was_answered_is_kept() -> None:
    def gone(body: dict[str, Any]) -> dict[str, Any]:
        early = body["messages"][0]["content"] in ("r0", "r1")
        return echo(body) if early else {"status": 503, "error": "gone"}

    kept: list[Completion] = []
    asked = [ask(f"r{n}", f"r{n}") for n in range(40)]
    with (
        talking(gone, max_retries=1, give_up_after=0.2, max_connections=2) as (engine, _),
        pytest.raises(UnavailableError, match="gone") as caught,
    ):
        kept.extend(engine.generate(asked))
    assert sorted((c.id, c.error) for c in kept) == [("r0", ""), ("r1", "")]
    assert "charter resume" in caught.value.cure
    assert "timeout_s" not in caught.value.cure


def test_a_server_that_is_too_slow_pauses_and_says_what_to_set() -> None:
    ended = threading.Event()

    def slow(body: dict[str, Any]) -> dict[str, Any]:
        ended.wait(10)
        return echo(body)

    with talking(slow, timeout=1, give_up_after=0, max_connections=1) as (engine, _):
        with pytest.raises(UnavailableError) as caught:
            list(engine.generate([ask("r", "x")]))
        ended.set()
    assert "charter resume" in caught.value.cure
    assert "a call may take 1 s (timeout_s)" in caught.value.cure


def test_a_server_that_takes_no_reply_schemas_is_asked_without() -> None:
    def plain(body: dict[str, Any]) -> dict[str, Any]:
        return {"status": 400, "error": "response_format is not supported"} if "response_format" in body else echo(body)

    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    asked = [ask(f"r{n}", f"r{n}").model_copy(update={"response_schema": schema}) for n in range(5)]
    with talking(plain, max_connections=1) as (engine, server):
        found = list(engine.generate(asked))
    assert [c.text for c in found] == [f"r{n}!" for n in range(5)]
    assert ["response_format" in call for call in server.seen] == [True] + [False] * 5
    with talking(echo, reply_schema=False) as (engine, server):
        list(engine.generate(asked[:1]))
    assert "response_format" not in server.seen[0]


def test_one_refused_schema_does_not_speak_for_the_others() -> None:
    def choosy(body: dict[str, Any]) -> dict[str, Any]:
        refused = "response_format" in body and body["messages"][0]["content"] == "r0"
        return {"status": 400, "error": "bad request"} if refused else echo(body)

    asked = [ask(f"r{n}", f"r{n}").model_copy(update={"response_schema": {"type": "object"}}) for n in range(3)]
    with talking(choosy, max_connections=1) as (engine, server):
        found = list(engine.generate(asked))
    assert [c.text for c in found] == ["r0!", "r1!", "r2!"]
    assert ["response_format" in call for call in server.seen] == [True, False, True, True]


def test_drained_it_gives_what_is_under_way_and_asks_for_nothing_more() -> None:
    with talking(echo, max_connections=4) as (engine, server):
        assert isinstance(engine, SupportsDrain)
        found = []
        for completion in engine.generate([ask(f"r{n}", f"r{n}") for n in range(200)]):
            found.append(completion)
            if len(found) == 8:
                engine.drain()
    assert 8 <= len(found) == len(server.seen) < 200


class Slow:
    """A server's answers that do not come before the test lets them."""

    def __init__(self) -> None:
        self.asked, self.let = threading.Event(), threading.Event()

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.set()
        self.let.wait(LONGEST)
        return echo(body)


def ask_beside(engine: RemoteEngine, found: list[Completion], count: int = 4) -> threading.Thread:
    """Asks in another thread, as is done while another engine is at work."""
    requests = [ask(f"r{n}", f"r{n}") for n in range(count)]
    thread = threading.Thread(target=lambda: found.extend(engine.generate(requests)))
    thread.start()
    return thread


def test_aborted_by_another_thread_it_gives_up_what_is_under_way() -> None:
    slow, found = Slow(), list[Completion]()
    with talking(slow.reply, max_connections=2) as (engine, server):
        assert isinstance(engine, SupportsOverlap)
        thread = ask_beside(engine, found)
        assert slow.asked.wait(LONGEST)
        engine.abort()
        thread.join(LONGEST)
        assert not thread.is_alive()
        slow.let.set()
        assert (found, len(server.seen) <= 2) == ([], True)
        assert [c.text for c in engine.generate([ask("a", "later")])] == ["later!"], "it may be asked again, from here"


def test_drained_by_another_thread_it_gives_what_is_under_way() -> None:
    slow, found = Slow(), list[Completion]()
    with talking(slow.reply, max_connections=1) as (engine, server):
        thread = ask_beside(engine, found)
        assert slow.asked.wait(LONGEST)
        engine.drain()
        slow.let.set()
        thread.join(LONGEST)
        assert not thread.is_alive()
        assert ([c.id for c in found], len(server.seen)) == (["r0"], 1)


def test_drained_by_another_thread_it_waits_for_no_server_that_is_away() -> None:
    """Between two attempts a call that is tried again ends at once."""
    failed = threading.Event()

    def busy(body: dict[str, Any]) -> dict[str, Any]:
        failed.set()
        return {"status": 503, "error": "busy", "headers": {"Retry-After": "60"}}

    found = list[Completion]()
    with talking(busy) as (engine, _):
        thread, end = ask_beside(engine, found, count=1), time.monotonic() + LONGEST
        assert failed.wait(LONGEST)
        while thread.is_alive() and time.monotonic() < end:
            engine.drain()
            thread.join(0.05)
        assert not thread.is_alive()
    assert found == []


@pytest.mark.parametrize("how", ["drain", "abort"])
def test_told_to_end_by_another_thread_while_it_rests_it_answers_all_the_same(how: str) -> None:
    with talking(echo) as (engine, _):
        assert len(list(engine.generate([ask("a", "first")]))) == 1
        thread = threading.Thread(target=getattr(engine, how))
        thread.start()
        thread.join(LONGEST)
        assert len(list(engine.generate([ask(f"r{n}", f"r{n}") for n in range(40)]))) == 40


def test_two_engines_are_asked_at_once_from_two_threads() -> None:
    found = list[Completion]()
    with talking(echo) as (one, _), talking(echo) as (other, _):
        thread = ask_beside(one, found, count=60)
        here = list(other.generate([ask(f"h{n}", f"h{n}") for n in range(60)]))
        thread.join(LONGEST)
    assert sorted(c.text for c in found) == sorted(f"r{n}!" for n in range(60))
    assert sorted(c.text for c in here) == sorted(f"h{n}!" for n in range(60))


def test_a_key_that_the_server_says_is_in_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_ORACLE", SECRET)

    def telltale(body: dict[str, Any]) -> dict[str, Any]:
        if body["messages"][0]["content"] == "bad":
            return {"status": 400, "error": f"the key {SECRET} may not"}
        return {"text": f"your key is {SECRET}"}

    with talking(telltale, key_env="MY_ORACLE") as (engine, server):
        good, bad = sorted(engine.generate([ask("a", "good"), ask("b", "bad")]), key=lambda c: c.id)
    assert {call["key"] for call in server.seen} == {f"Bearer {SECRET}"}
    assert good.text == "your key is ***"
    assert "the key *** may not" in bad.error
    monkeypatch.delenv("MY_ORACLE")
    with pytest.raises(EngineError, match="MY_ORACLE is not set"):
        list(
            RemoteEngine("m", RemoteOptions(base_url="http://127.0.0.1:1/v1", key_env="MY_ORACLE")).generate(
                [ask("a", "x")]
            )
        )


def test_adaptive_connections_answer_everything_and_mind_rate_limits() -> None:
    limited, together = threading.Semaphore(6), threading.Barrier(6, timeout=10)

    def narrow(body: dict[str, Any]) -> dict[str, Any]:
        if limited.acquire(blocking=False):
            together.wait()
            return {"status": 429, "error": "too many", "headers": {"Retry-After": "0.05"}}
        return echo(body)

    with talking(narrow, max_connections="adaptive") as (engine, server):
        first = list(engine.generate([ask(f"r{n}", f"r{n}") for n in range(60)]))
        engine.close()
        again = list(engine.generate([ask("again", "again")]))
    assert {c.text for c in first} == {f"r{n}!" for n in range(60)}
    assert again[0].text == "again!"
    assert len(server.seen) == 67
    assert 6 <= server.most <= 20  # where Inspect's controller begins


@pytest.mark.parametrize(("status", "cure"), [(503, "resume"), (401, "API key"), (404, "name")])
def test_a_server_that_is_not_there_for_us_ends_the_step(
    status: int, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARTER_API_KEY", SECRET)
    with (
        talking(lambda _: {"status": status, "error": f"key {SECRET} refused"}, give_up_after=0.05) as (engine, server),
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
    engine = RemoteEngine("tiny", RemoteOptions(base_url=closed, give_up_after=0))
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


def test_calls_go_to_the_least_busy_of_several_servers() -> None:
    """The slow one takes its few, within its limit; the quick one takes the rest."""

    def slow(body: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.2)
        return echo(body)

    with serve(slow) as lazy, talking(echo, more_urls=(lazy.url,), max_connections=2) as (engine, quick):
        found = {c.id: c.text for c in engine.generate([ask(str(n), f"hi {n}") for n in range(40)])}
    assert found == {str(n): f"hi {n}!" for n in range(40)}
    assert 2 <= len(lazy.seen) < len(quick.seen)
    assert lazy.most <= 2
    assert quick.most <= 2
    assert engine.notes == []


def test_a_server_that_fails_a_request_does_not_get_it_again_while_there_is_another() -> None:
    def broken(body: dict[str, Any]) -> dict[str, Any]:
        return {"status": 500, "error": "out of order"}

    with serve(broken) as bad, talking(echo, more_urls=(bad.url,), max_connections=2) as (engine, _):
        found = [c.text for c in engine.generate([ask(str(n), "hi") for n in range(8)])]
    assert found == ["hi!"] * 8
    assert bad.seen


def test_a_server_that_is_gone_is_done_without_and_this_is_said() -> None:
    with serve(echo) as other:
        pass  # it is gone, and its port with it
    with talking(echo, more_urls=(other.url,), give_up_after=0.5) as (engine, server):
        assert [c.text for c in engine.generate([ask(str(n), "hi") for n in range(8)])] == ["hi!"] * 8
        assert engine.notes == [f"{other.url[7:-3]} went away, and others were asked in its place"]
        assert len(server.seen) == 8


def test_where_all_servers_are_gone_the_run_pauses() -> None:
    with serve(echo) as one, serve(echo) as other:
        pass
    engine = RemoteEngine(
        "m", RemoteOptions(base_url=one.url, more_urls=(other.url,), first_wait=0.01, give_up_after=0.1)
    )
    with pytest.raises(UnavailableError):
        list(engine.generate([ask("a", "hi")]))
    engine.close()


def test_an_offline_run_reaches_none_of_several_servers_elsewhere() -> None:
    with pytest.raises(EngineError, match="offline"):
        RemoteEngine("m", RemoteOptions(base_url="http://127.0.0.1:1/v1", more_urls=("http://h/v1",), offline=True))


def test_many_calls_at_once_are_spread_over_clients_of_one_server() -> None:
    held = threading.Event()

    def hold(body: dict[str, Any]) -> dict[str, Any]:
        held.wait(30 if server.most < 70 else 0)
        if server.most >= 70:
            held.set()
        return echo(body)

    with talking(hold, max_connections=70) as (engine, server):
        assert len(list(engine.generate([ask(str(n), "hi") for n in range(80)]))) == 80
        assert engine._replicas is not None
        assert [len(one.models) for one in engine._replicas.servers] == [2]
        assert server.most == 70
