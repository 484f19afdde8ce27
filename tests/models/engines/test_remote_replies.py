"""The remote engine against servers that reply as they please: what concerns all calls is learnt once, what concerns
one request is its own error, and nothing that a server says of a request is taken for an answer.

The symptoms come from public threads: decolua/9router#560 and teilomillet/gollm#33 (refused parameters),
vllm-project/vllm#38696 (white space under a schema), vllm-project/vllm#6862 (system turns),
explodinggradients/ragas#247 (prompts that are too long), kaito-project/kaito#1880 (streams and pages),
UKGovernmentBEIS/inspect_ai#5467 (budgets that go to reasoning), interviewstreet/hiring-agent#386 (waits).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from charter.errors import EngineError, UnavailableError
from charter.models.engines.remote_engine import RemoteEngine
from charter.ports import Noting
from charter.records.chat import Completion, Message, Request
from tests.fakes.openai_server import Reply
from tests.fakes.tiny_models import ask
from tests.models.engines.test_remote_engine import echo, talking

pytest.importorskip("inspect_ai")

pytestmark = pytest.mark.slow

SCHEMA = {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}


def ruled(id: str) -> Request:
    return ask(id, id).model_copy(update={"response_schema": SCHEMA})


def refuse(key: str, **answer: Any) -> Reply:
    """Refuses a key of the protocol, and answers without it."""
    return lambda body: answer if key in body else echo(body)


def answers(engine: RemoteEngine, *asked: Request) -> dict[str, Completion]:
    return {completion.id: completion for completion in engine.generate(asked)}


@pytest.mark.parametrize(
    ("key", "refusal", "instead"),
    [
        ("temperature", {"status": 400, "error": "'temperature' cannot be 0 here"}, ""),
        ("seed", {"status": 422, "error": "extra inputs are not permitted: 'seed'"}, ""),
        ("temperature", {"status": 500, "error": "got an unexpected keyword argument 'temperature'"}, ""),
        (
            "max_tokens",
            {"status": 400, "error": "Unsupported: 'max_tokens'. Say 'max_completion_tokens'"},
            "max_completion_tokens",
        ),
        ("temperature", {"body": {"error": {"message": "'temperature' is not supported", "code": 400}}}, ""),
        ("seed", {"status": 422, "body": {"detail": [{"loc": ["body", "seed"], "msg": "extra fields"}]}}, ""),
        (
            "max_tokens",
            {"status": 400, "raw": "max_tokens is not supported", "type": "text/plain"},
            "max_completion_tokens",
        ),
    ],
)
def test_a_refused_parameter_is_left_out_once_and_for_all(key: str, refusal: dict[str, Any], instead: str) -> None:
    asked = [ask(f"r{n}", f"r{n}", temperature=0.5) for n in range(5)]
    with talking(refuse(key, **refusal), max_connections=1) as (engine, server):
        found = answers(engine, *asked)
        assert isinstance(engine, Noting)
        (note,) = engine.notes
    assert {c.text for c in found.values()} == {f"r{n}!" for n in range(5)}
    assert [key in call for call in server.seen] == [True] + [False] * 5
    assert key in note
    if instead:
        assert all(instead in call for call in server.seen[1:])


def test_two_refused_parameters_are_learnt_one_after_the_other() -> None:
    def strict(body: dict[str, Any]) -> dict[str, Any]:
        key = next((key for key in ("temperature", "max_tokens", "max_completion_tokens") if key in body), None)
        return {"status": 400, "error": f"'{key}' is not supported"} if key else echo(body)

    with talking(strict, max_connections=1) as (engine, server):
        assert answers(engine, ask("a", "a"), ask("b", "b"))["b"].text == "b!"
    assert len(server.seen) == 5


@pytest.mark.parametrize(
    ("answer", "calls"),
    [
        ({"status": 500, "error": "the grammar cannot be built"}, 6),
        ({"status": 501, "error": "json_schema is not implemented"}, 6),
        ({"status": 400, "error": "bad request"}, 7),
        ({"status": 500, "error": "internal error"}, 7),
        ({"body": {"error": {"message": "guided decoding failed", "code": 500}}}, 6),
    ],
)
def test_a_server_that_fails_on_schemas_is_soon_asked_without(answer: dict[str, Any], calls: int) -> None:
    with talking(refuse("response_format", **answer), max_connections=1) as (engine, server):
        found = answers(engine, *(ruled(f"r{n}") for n in range(5)))
    assert [c.text for c in found.values()] == [f"r{n}!" for n in range(5)]
    assert len(server.seen) == calls
    assert not any("response_format" in call for call in server.seen[-3:])


def test_a_reply_that_ran_into_white_space_is_asked_for_without_the_schema() -> None:
    def blank(body: dict[str, Any]) -> dict[str, Any]:
        broken = {"text": '{"label":' + " \n" * 40, "finish": "length"}
        return broken if "response_format" in body else {"text": '{"label": "a"}'}

    with talking(blank) as (engine, server):
        found = answers(engine, ruled("r"))["r"]
    assert (found.text, len(server.seen)) == ('{"label": "a"}', 2)
    assert found.tokens_out > 1  # what was thrown away was paid for


def test_system_turns_are_put_into_the_users_where_a_template_has_none() -> None:
    def strict(body: dict[str, Any]) -> dict[str, Any]:
        held = any(turn["role"] == "system" for turn in body["messages"])
        return {"status": 400, "error": "System role not supported"} if held else echo(body)

    turns = (Message(role="system", content="Be brief."), Message(role="user", content="How?"))
    asked = [Request(id=f"r{n}", messages=turns) for n in range(3)]
    with talking(strict, max_connections=1) as (engine, server):
        found = answers(engine, *asked)
        assert "system" in engine.notes[0]
    assert {c.text for c in found.values()} == {"Be brief.\n\nHow?!"}
    assert len(server.seen) == 4


def test_a_server_that_only_streams_is_asked_for_streams() -> None:
    def streaming(body: dict[str, Any]) -> dict[str, Any]:
        if not body.get("stream"):
            return {"status": 400, "error": "this model only supports stream mode; set stream"}
        chunk = {"choices": [{"index": 0, "delta": {"content": "yes"}, "finish_reason": "stop"}]}
        return {"raw": f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n", "type": "text/event-stream"}

    with talking(streaming, max_connections=1) as (engine, server):
        assert {c.text for c in answers(engine, ask("a", "a"), ask("b", "b")).values()} == {"yes"}
    assert len(server.seen) == 3


def test_a_page_ends_the_step_at_once_with_its_first_words() -> None:
    page = {"raw": "<html><body>Please sign in</body></html>", "type": "text/html"}
    with talking(lambda _: page, max_connections=1) as (engine, server), pytest.raises(EngineError, match="sign in"):
        answers(engine, ask("a", "a"), ask("b", "b"))
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 402, "error": "no credit is left"},
        {"status": 429, "body": {"error": {"message": "no credit is left", "code": "insufficient_quota"}}},
        {"body": {"error": {"message": "no credit is left", "code": 402}}},
    ],
)
def test_an_empty_account_pauses_the_run_at_once(answer: dict[str, Any]) -> None:
    with (
        talking(lambda _: answer, max_connections=1) as (engine, server),
        pytest.raises(UnavailableError, match="no credit"),
    ):
        answers(engine, ask("a", "a"), ask("b", "b"))
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [403, 404, 451])
def test_a_status_of_one_request_is_its_own_error_where_the_model_answers(status: int) -> None:
    def choosy(body: dict[str, Any]) -> dict[str, Any]:
        refused = body["messages"][0]["content"] == "r1"
        return {"status": status, "error": "no provider takes this"} if refused else echo(body)

    with talking(choosy) as (engine, server):
        found = answers(engine, *(ask(f"r{n}", f"r{n}") for n in range(3)))
    assert found["r1"].error == "no provider takes this"
    assert (found["r0"].text, found["r2"].text) == ("r0!", "r2!")
    assert len(server.seen) == 4  # one short question to the model itself


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "window of 4096, and 5000 came", "code": "context_length_exceeded"}},
        {"error": {"message": "window of 4096, input length 5000", "code": 400}},
        {"object": "error", "message": "window of 4096", "code": 400},
        {"error": {"message": "window of 4096", "code": "content_filter", "type": "invalid_request_error"}},
    ],
)
@pytest.mark.parametrize("status", [400, 413, 200])
def test_what_a_server_says_of_a_request_is_never_its_answer(body: dict[str, Any], status: int) -> None:
    with talking(lambda _: {"status": status, "body": body}) as (engine, _):
        found = answers(engine, ask("r", "x"))["r"]
    assert (found.text, found.stop) == ("", "error")
    assert "window of 4096" in found.error


def test_a_choice_that_broke_off_is_asked_again() -> None:
    broken = {"choices": [{"finish_reason": "error", "message": {"content": "half"}, "error": {"code": 502}}]}
    replies: Iterator[dict[str, Any]] = iter(
        [{"body": broken}, {"body": {"choices": []}}, {"raw": ""}, {"text": "whole"}]
    )
    with talking(lambda _: next(replies)) as (engine, _):
        assert answers(engine, ask("r", "x"))["r"].text == "whole"


@pytest.mark.parametrize(
    ("answer", "text", "thought", "empty"),
    [
        ({"text": "<think>hm</think>yes"}, "yes", "hm", ""),
        ({"text": "hm</think>yes"}, "yes", "hm", ""),
        ({"text": "yes", "message": {"reasoning_content": "hm"}}, "yes", "hm", ""),
        ({"text": "yes", "message": {"reasoning": "hm"}}, "yes", "hm", ""),
        ({"text": None, "finish": "length", "message": {"reasoning": "hm"}}, "", "hm", "the budget went to reasoning"),
        ({"text": "<think>hm", "finish": "length"}, "", "hm", "the budget went to reasoning"),
        ({"text": None, "message": {"reasoning": "hm"}}, "", "hm", "reasoning alone came"),
        ({"text": "", "finish": "length"}, "", "", "the budget was spent before a word came"),
        ({"text": " \n"}, "", "", "nothing came"),
        (
            {"text": None, "message": {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}},
            "",
            "",
            "a tool call",
        ),
        ({"text": [{"type": "text", "text": "y"}, {"type": "text", "text": "es"}]}, "yes", "", ""),
    ],
)
def test_thoughts_are_apart_and_an_empty_answer_says_why(
    answer: dict[str, Any], text: str, thought: str, empty: str
) -> None:
    whole = {
        "finish_reason": answer.get("finish", "stop"),
        "message": {"content": answer["text"], **answer.get("message", {})},
    }
    with talking(lambda _: {"body": {"choices": [whole]}}) as (engine, _):
        found = answers(engine, ask("r", "x"))["r"]
    assert (found.text, found.thought, found.empty, found.error) == (text, thought, empty, "")
    assert bool(found.failure) is bool(empty)


def test_a_call_whose_arguments_hold_the_schema_is_the_reply() -> None:
    def by_call(arguments: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        message = {"content": None, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": arguments}}]}
        return lambda _: {"body": {"choices": [{"finish_reason": "tool_calls", "message": message}]}}

    with talking(by_call('{"label": "a"}')) as (engine, _):
        assert json.loads(answers(engine, ruled("r"))["r"].text) == {"label": "a"}
    with talking(by_call('{"other": "a"}')) as (engine, _):
        assert answers(engine, ruled("r"))["r"].failure == "empty answer (a tool call)"


def test_a_refusal_in_its_own_field_is_marked() -> None:
    body = {"choices": [{"finish_reason": "stop", "message": {"content": None, "refusal": "I would rather not."}}]}
    with talking(lambda _: {"body": body}) as (engine, _):
        found = answers(engine, ask("r", "x"))["r"]
    assert (found.text, found.refused) == ("I would rather not.", True)


@pytest.mark.parametrize(
    "headers",
    [{"retry-after-ms": "300"}, {"x-ratelimit-reset-requests": "300ms"}, {"retry-after": "0.3"}],
)
@pytest.mark.parametrize("status", [429, 200])
def test_nobody_asks_sooner_however_the_wait_is_said(headers: dict[str, str], status: int) -> None:
    busy = {"status": status, "headers": headers, "body": {"error": {"message": "slow down", "code": 429}}}
    replies: Iterator[dict[str, Any]] = iter([busy, {"text": "at last"}])
    with talking(lambda _: next(replies)) as (engine, server):
        began = time.monotonic()
        assert answers(engine, ask("r", "x"))["r"].text == "at last"
    assert server.seen[1]["at"] - began >= 0.3
