"""What servers really send, read as a reply or as the error that it is; and what they mean by an error.

The shapes come from public threads: UKGovernmentBEIS/inspect_ai#1534 and SWE-agent/mini-swe-agent#902 (errors under
status 200), kaito-project/kaito#1880 (streams and pages), nodetool-ai/nodetool#5755 (a choice that broke off),
microsoft/PyRIT#2044 (calls in place of a text), vllm-project/vllm#13125 and xorbitsai/inference#3562 (thoughts),
interviewstreet/hiring-agent#386 (waits), decolua/9router#560 and teilomillet/gollm#33 (refused parameters).
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from charter.errors import EngineError
from charter.models.engines.refusals import Refusal
from charter.models.engines.replies import ReplyError, read_reply, split_thought


def chat(content: object, **more: object) -> str:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content, **more}}]})


def message(text: str) -> dict[str, Any]:
    found: dict[str, Any] = read_reply(text)["choices"][0]["message"]
    return found


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"choices": None, "error": {"message": "slow down", "code": 429}}, 429, "slow down"),
        ({"choices": [], "error": {"message": "slow down", "code": "429"}}, 429, "slow down"),
        ({"error": {"message": "flagged", "code": 403}}, 403, "flagged"),
        ({"error": {"message": "later", "type": "rate_limit_error"}}, 429, "later"),
        ({"error": {"message": "none", "code": "insufficient_quota"}}, 402, "none"),
        ({"error": {"message": "long", "code": "context_length_exceeded"}}, 400, "long"),
        ({"error": "it fell over"}, 502, "it fell over"),
        ({"object": "error", "message": "too long", "code": 400}, 400, "too long"),
        ({"code": 20015, "message": "a gateway's own", "data": None}, 502, "a gateway's own"),
        ({"detail": "not now", "code": 503}, 503, "not now"),
        ({"choices": []}, 502, "no answer"),
        ({"choices": [{"finish_reason": "error", "message": {"content": ""}}]}, 502, "broke off"),
        (
            {"choices": [{"error": {"code": 500, "message": "upstream"}, "message": {"content": "half"}}]},
            500,
            "upstream",
        ),
        ({"error": {"message": "late", "code": 502}, "choices": [{"message": {"content": "half"}}]}, 502, "late"),
        ({"choices": [{"finish_reason": "stop"}]}, 502, "no message"),
    ],
)
def test_an_error_under_status_200_keeps_its_status_and_its_words(body: object, status: int, words: str) -> None:
    with pytest.raises(ReplyError, match=words) as caught:
        read_reply(json.dumps(body))
    assert caught.value.status_code == status


@pytest.mark.parametrize("text", ["", "  \n", '{"choices": [{"message": {"con'])
def test_nothing_and_torn_json_may_pass(text: str) -> None:
    with pytest.raises(ReplyError) as caught:
        read_reply(text)
    assert caught.value.status_code == 502


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<html><head><style>a{}</style></head><body><h1>Please sign in</h1></body></html>", "Please sign in"),
        ('{"status": "ok"}', "status"),
        ('"alive"', "alive"),
        ("OK", "OK"),
        ("[]", r"\[\]"),
    ],
)
def test_what_is_no_model_server_is_named_with_its_first_words(text: str, words: str) -> None:
    with pytest.raises(EngineError, match=words) as caught:
        read_reply(text)
    assert "base_url" in caught.value.cure
    assert "{}" not in str(caught.value)


def events(*chunks: object, done: bool = True) -> str:
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + ("data: [DONE]\n\n" if done else "")


def delta(finish: str | None = None, **said: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


def test_a_stream_is_read_as_the_reply_that_it_adds_up_to() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
    found = read_reply(
        events(delta(reasoning_content="hm"), delta(content="a "), delta(content="b"), delta("length"), usage)
    )
    choice = found["choices"][0]
    assert choice["message"]["content"] == "a b"
    assert choice["message"]["reasoning_content"] == "hm"
    assert (choice["finish_reason"], found["usage"]["completion_tokens"]) == ("length", 2)
    calls = [{"index": 0, "id": "c", "function": {"name": "reply", "arguments": part}} for part in ('{"a"', ": 1}")]
    said = message(events(*(delta(tool_calls=[call]) for call in calls), delta("tool_calls")))
    assert said["tool_calls"][0]["function"]["arguments"] == '{"a": 1}'


def test_a_stream_that_breaks_off_or_holds_an_error_is_no_answer() -> None:
    with pytest.raises(ReplyError, match="broke off"):
        read_reply(events(delta(content="half an"), done=False))
    with pytest.raises(ReplyError, match="upstream"):
        read_reply(events(delta(content="half"), {"error": {"message": "upstream", "code": 500}}))
    with pytest.raises(ReplyError, match="torn"):
        read_reply('data: {"choices": [{"del\n\n')
    with pytest.raises(EngineError, match="stream"):
        read_reply('event: ping\ndata: {"time": 1}\n\n')


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "b"}], "b"),
        (["a", "b"], "ab"),
        ({"text": "a"}, "a"),
        ("a", "a"),
        (None, None),
    ],
)
def test_a_text_is_read_however_it_is_wrapped(content: object, text: str | None) -> None:
    assert message(chat(content))["content"] == text


def test_reasoning_refusals_and_calls_stand_in_fields_of_their_own() -> None:
    assert message(chat("b", reasoning="hm"))["reasoning_content"] == "hm"
    assert message(chat([{"type": "thinking", "thinking": "hm"}]))["reasoning_content"] == "hm"
    assert message(chat([{"type": "refusal", "refusal": "no"}]))["refusal"] == "no"
    called = message(chat(None, function_call={"name": "f", "arguments": {"a": 1}}))
    assert json.loads(called["tool_calls"][0]["function"]["arguments"]) == {"a": 1}


VERDICT = '{"label": "harmful"}'


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("<think>hm</think>\n\nyes", "hm", "yes"),
        ("hm {draft}\n</think>\n\nyes", "hm {draft}", "yes"),
        ("<think>hm", "hm", ""),
        ("<think>a</think>yes<think>b</think>", "a\nb", "yes"),
        ("[THINK]hm[/THINK]yes", "hm", "yes"),
        ("◁think▷hm◁/think▷yes", "hm", "yes"),
        ("<thinking>hm</thinking> yes", "hm", "yes"),
        (
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>yes<|return|>",
            "hm",
            "yes",
        ),
        ("<|channel|>analysis<|message|>hm and no more", "hm and no more", ""),
        ("analysisWe weigh it.assistantfinalyes", "We weigh it.", "yes"),
        (f'{{"label": "acceptable"}} no\n</think>\n{VERDICT}', '{"label": "acceptable"} no', VERDICT),
        (
            '{"rationale": "it wrote </think>", "label": "harmful"}',
            "",
            '{"rationale": "it wrote </think>", "label": "harmful"}',
        ),
        ("a plain answer", "", "a plain answer"),
        ("", "", ""),
    ],
)
def test_a_thought_is_apart_from_the_answer(text: str, thought: str, answer: str) -> None:
    assert split_thought(text) == (thought, answer)


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "1", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:02 GMT"}, 2.0),
        (
            {
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-requests": "0",
            },
            1.0,
        ),
        ({"x-ratelimit-reset-requests": "250ms", "x-ratelimit-reset-tokens": "2s"}, 2.0),
        ({"x-ratelimit-reset": str(int(NOW + 3))}, 3.0),
        ({"x-ratelimit-reset": str(int(NOW + 3) * 1000)}, 3.0),
        ({"ratelimit-reset": "4"}, 4.0),
        ({"ratelimit": "limit=10, remaining=0, reset=5"}, 5.0),
        ({"anthropic-ratelimit-requests-reset": "2027-01-15T08:00:02Z"}, 2.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_a_wait_is_heard_however_it_is_said(headers: dict[str, str], wait: float | None) -> None:
    assert Refusal(429, "slow down", headers=headers).wait(NOW) == wait


@pytest.mark.parametrize(
    ("refusal", "wait"),
    [
        (Refusal(429, "Please try again in 1.5s."), 1.5),
        (Refusal(429, "Rate limited, retry after 20 seconds"), 20.0),
        (Refusal(429, "busy", body='{"error": {"details": [{"retryDelay": "34s"}]}}'), 34.0),
        (Refusal(200, "fine", headers={"x-ratelimit-reset": "9"}), None),
    ],
)
def test_a_wait_in_words_is_heard_too(refusal: Refusal, wait: float | None) -> None:
    assert refusal.wait(NOW) == wait


SENT = ("temperature", "max_tokens", "stop", "seed", "top_p")


@pytest.mark.parametrize(
    ("refusal", "key"),
    [
        (Refusal(400, "'temperature' takes its default alone", param="temperature"), "temperature"),
        (Refusal(400, "'max_tokens' is not supported; use 'max_completion_tokens'", param="max_tokens"), "max_tokens"),
        (Refusal(422, "extra fields not permitted: seed, `seed`"), "seed"),
        (Refusal(500, "create() got an unexpected keyword argument 'top_p'"), "top_p"),
        (Refusal(400, "Unsupported parameter: 'stop' is not supported with this model"), "stop"),
        (Refusal(400, "the context is 4096 tokens, max_tokens is too large", param="max_tokens"), ""),
        (Refusal(400, "reduce the messages: 10127 tokens, 8192 fit", param="input_tokens"), ""),
        (Refusal(400, "you must stop: this prompt is not allowed"), ""),
        (Refusal(404, "no such model takes 'temperature'"), ""),
    ],
)
def test_a_refused_parameter_is_told_from_a_refused_request(refusal: Refusal, key: str) -> None:
    assert refusal.refused_key(SENT) == key


@pytest.mark.parametrize(
    ("refusal", "of_account"),
    [
        (Refusal(402, "pay"), True),
        (Refusal(429, "You exceeded your current quota", "insufficient_quota"), True),
        (Refusal(400, "Your credit balance is too low"), True),
        (Refusal(429, "Quota exceeded for requests per minute"), False),
        (Refusal(400, "the prompt speaks of a credit card"), False),
    ],
)
def test_an_account_without_money_is_told_from_a_busy_server(refusal: Refusal, of_account: bool) -> None:
    assert refusal.of_account is of_account
