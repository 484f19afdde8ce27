"""What a server of the chat protocol really sent, read as one reply or as the error that it is.

Servers say errors under status 200, stream where nobody asked for it, send pages, and put a text into parts or into a
call's arguments. All of it becomes one plain form before a provider's client sees it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from charter.errors import EngineError

BROKEN = 502
"""The status of an error that names none: it may pass, so it is asked again."""
_CHAT = "/chat/completions"
_CODES = (
    (r"rate.?limit|too.?many|overload", 429),
    (r"quota|billing|credit|balance|payment", 402),
    (r"authenti|api.?key", 401),
    (r"context.?length|context.?size|invalid|bad.?request|content.?(filter|policy)|unsupported", 400),
)
_MARKS = (
    (r"<think>", r"</think>"),
    (r"<thinking>", r"</thinking>"),
    (r"<reasoning>", r"</reasoning>"),
    (r"<thought>", r"</thought>"),
    (r"\[THINK\]", r"\[/THINK\]"),
    ("◁think▷", "◁/think▷"),
)
"""What opens and closes a thought, in the templates of DeepSeek, Qwen, Magistral and Kimi, and their like."""
_CHANNEL = re.compile(
    r"<\|channel\|>\s*(\w+)[^<]*<\|message\|>(.*?)(?=<\|(?:channel|end|return|start|call)\|>|\Z)", re.S
)
"""A message of the harmony format (gpt-oss): its channel and its text."""


class ReplyError(Exception):
    """An error that came under a status of success: ``status_code`` is its own, ``body`` what it said."""

    def __init__(self, words: str, status: int = BROKEN, body: object = None, headers: object = None) -> None:
        super().__init__(words)
        self.status_code, self.body, self.headers = status, body, headers


def split_thought(text: str) -> tuple[str, str]:
    """A text's reasoning, and what is said after it. The opening mark may be missing, as many templates write it
    themselves; a thought that is not closed is all there is. A JSON object is an answer, whatever its texts hold."""
    if "<|message|>" in text and (parts := _CHANNEL.findall(text)):
        final = "".join(said for channel, said in parts if channel == "final")
        return "\n".join(said.strip() for channel, said in parts if channel != "final").strip(), final.strip()
    if found := re.match(r"\s*analysis(.*?)assistantfinal(.*)", text, re.S):
        return found[1].strip(), found[2].strip()
    if _is_object(text):
        return "", text
    for opening, closing in _MARKS:
        if found := re.match(rf"\s*{opening}(.*?)(?:{closing}(.*)|\Z)", text, re.S | re.I):
            more = re.findall(rf"{opening}(.*?){closing}", found[2] or "", re.S | re.I)
            answer = re.sub(rf"{opening}.*?{closing}", "", found[2] or "", flags=re.S | re.I)
            return "\n".join(part.strip() for part in (found[1], *more)), answer.strip()
    for _, closing in _MARKS:
        if found := re.match(rf"(.*?){closing}(.*)", text, re.S | re.I):
            return found[1].strip(), found[2].strip()
    return "", text


def _is_object(text: str) -> bool:
    """A JSON object stands at its beginning, and no thought ends after that."""
    begin = text.lstrip().removeprefix("```json").removeprefix("```").lstrip()
    try:
        if not begin.startswith("{"):
            return False
        end = json.JSONDecoder(strict=False).raw_decode(begin)[1]
    except (ValueError, RecursionError):
        return False
    return not any(re.search(closing, begin[end:], re.I) for _, closing in _MARKS)


async def mend_response(response: Any) -> None:
    """Puts a plain reply in place of a response's body: a hook of a provider's HTTP client. Raises ReplyError where it
    is an error, EngineError where no model server answers."""
    path = str(response.request.url.path)
    if response.status_code >= 300 or not path.endswith("/completions"):
        return
    data = await response.aread()
    try:
        plain = read_reply(data.decode(errors="replace"), chat=path.endswith(_CHAT))
    except ReplyError as error:
        error.headers = response.headers
        raise
    response._content = json.dumps(plain).encode()
    response.headers["content-type"] = "application/json"


def read_reply(text: str, chat: bool = True) -> dict[str, Any]:
    """A body with status 200 as one reply of the chat protocol (or of plain completions, which stays as it is). Raises
    ReplyError, EngineError."""
    if not text.strip():
        raise ReplyError("the server sent nothing")
    body = _joined(text) if re.match(r"\s*(data|event|id)?:", text) else _object(text)
    error = body.get("error") or (body if body.get("object") == "error" else None)
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    if choice is not None and (choice.get("error") or choice.get("finish_reason") == "error"):
        error = error or choice.get("error") or {"message": "the answer broke off by an error"}
    if error:
        raise _error(error)
    if choice is None:
        raise _choiceless(body, text)
    return _plain(body, choice) if chat else body


def _object(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text, strict=False)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("{"):
            raise ReplyError(f"the server's JSON is torn: {_first(text)}") from error
        raise _stranger(text) from error
    if not isinstance(body, dict):
        raise _stranger(text)
    return body


def _choiceless(body: Mapping[str, Any], text: str) -> Exception:
    """What a body without a choice means: an error in its own form, a reply that lacks everything, or a stranger."""
    words = next((body[key] for key in ("message", "msg", "detail", "error_msg") if body.get(key)), None)
    if words and ("code" in body or "error_code" in body or "detail" in body):
        return _error({**body, "message": words})
    if "choices" in body:
        return ReplyError(f"the server's reply holds no answer: {_first(text)}", body=dict(body))
    return _stranger(text)


def _stranger(text: str) -> EngineError:
    return EngineError(
        f"What answers is no model server. It sent, with status 200: {_first(text)}",
        "Check the base_url (it mostly ends in /v1), and whether a proxy or a sign-in page stands before the server.",
    )


def _first(text: str) -> str:
    """The first words of what came; of a page, those that a reader sees."""
    seen = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", text, flags=re.S | re.I) if "<" in text else text
    return f"{'(a page of HTML) ' if '<html' in text[:1000].lower() else ''}{' '.join(seen.split())[:200]}"


def _error(error: object) -> ReplyError:
    told = error if isinstance(error, dict) else {"message": str(error)}
    words = told.get("message") or told.get("msg") or json.dumps(error, ensure_ascii=False)
    code = str(told.get("code") or told.get("status") or told.get("error_code") or "")
    names = f"{code} {told.get('type') or ''}"
    status = int(code) if re.fullmatch(r"[45]\d\d", code) else None
    if status is None:
        status = next((status for pattern, status in _CODES if re.search(pattern, names, re.I)), BROKEN)
    return ReplyError(words if isinstance(words, str) else json.dumps(words), status, told)


def _joined(text: str) -> dict[str, Any]:
    """The one reply that a stream of events adds up to."""
    whole: dict[str, Any] = {"choices": []}
    message: dict[str, Any] = {"role": "assistant"}
    calls: dict[int, dict[str, Any]] = {}
    finish, done = None, False
    for event in _events(text):
        if event is None:
            done = True
            continue
        if event.get("error"):
            raise _error(event["error"])
        whole |= {key: event[key] for key in ("id", "model", "created", "usage") if event.get(key)}
        for choice in [c for c in event.get("choices") or [] if isinstance(c, dict) and not c.get("index")]:
            finish = choice.get("finish_reason") or finish
            whole["choices"] = [
                {"index": 0, "message": message, **({"error": choice["error"]} if "error" in choice else {})}
            ]
            _add(message, calls, choice.get("delta") or choice.get("message") or {})
    if not whole["choices"]:
        raise EngineError(
            f"The server sends a stream of events that holds no answer: {_first(text)}",
            "Check the base_url; have the server answer calls that ask for no stream.",
        )
    if finish is None and not done:
        raise ReplyError("the server's stream broke off")
    if calls:
        message["tool_calls"] = [calls[place] for place in sorted(calls)]
    whole["choices"][0]["finish_reason"] = finish or "stop"
    return whole


def _events(text: str) -> Iterator[dict[str, Any] | None]:
    """The data of each event; None where the stream says that it is done."""
    for block in re.split(r"\r?\n\r?\n", text):
        data = "\n".join(line[5:].strip() for line in block.splitlines() if line.startswith("data:"))
        if data == "[DONE]":
            yield None
        elif data:
            try:
                event = json.loads(data, strict=False)
            except (ValueError, RecursionError) as error:
                raise ReplyError(f"an event of the server's stream is torn: {_first(data)}") from error
            if isinstance(event, dict):
                yield event


def _add(message: dict[str, Any], calls: dict[int, dict[str, Any]], delta: Mapping[str, Any]) -> None:
    for key in ("content", "reasoning_content", "reasoning", "refusal"):
        if (said := _text(delta.get(key))) is not None:
            message[key] = message.get(key, "") + said
    for call in delta.get("tool_calls") or []:
        kept = calls.setdefault(
            call.get("index") or 0, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        )
        kept["id"] = call.get("id") or kept["id"]
        for key in ("name", "arguments"):
            kept["function"][key] += (call.get("function") or {}).get(key) or ""


def _plain(body: Mapping[str, Any], choice: Mapping[str, Any]) -> dict[str, Any]:
    """The reply in its plainest form: one message with a text, its reasoning, a refusal, and calls."""
    said = choice.get("message")
    if not isinstance(said, dict):
        raise ReplyError("the server's reply holds no message", body=dict(body))
    content, reasoning, refusal = said.get("content"), _reasoning(said), _text(said.get("refusal"))
    if isinstance(content, list):
        reasoning = reasoning or "".join(_text(p) or "" for p in content if _kind(p) in ("thinking", "reasoning"))
        refusal = refusal or "".join(str(p.get("refusal") or "") for p in content if _kind(p) == "refusal")
        content = [p for p in content if _kind(p) in ("text", "output_text", "")]
    message: dict[str, Any] = {"role": "assistant", "content": _text(content)}
    message |= {"reasoning_content": reasoning} if reasoning else {}
    message |= {"refusal": refusal} if refusal else {}
    calls = said.get("tool_calls") or ([{"function": said["function_call"]}] if said.get("function_call") else [])
    message |= {"tool_calls": plain} if (plain := [_call(call) for call in calls if isinstance(call, dict)]) else {}
    weighed = {"logprobs": logprobs} if isinstance(logprobs := choice.get("logprobs"), dict) else {}
    usage = body.get("usage")
    counts = (
        {key: (usage or {}).get(key) for key in ("prompt_tokens", "completion_tokens")}
        if isinstance(usage, dict)
        else {}
    )
    spent = None
    if counts and all(type(count) is int for count in counts.values()):
        details = usage.get("completion_tokens_details") if isinstance(usage, dict) else None
        thought = details.get("reasoning_tokens") if isinstance(details, dict) else None
        spent = {**counts, "total_tokens": sum(count or 0 for count in counts.values())}
        spent |= {"completion_tokens_details": {"reasoning_tokens": thought}} if type(thought) is int else {}
    return {
        "id": str(body.get("id") or ""),
        "object": "chat.completion",
        "created": body["created"] if isinstance(body.get("created"), int) else 0,
        "model": str(body.get("model") or ""),
        "choices": [
            {"index": 0, "finish_reason": choice.get("finish_reason") or "stop", "message": message, **weighed}
        ],
        "usage": spent,
    }


def _kind(part: object) -> str:
    return str(part.get("type") or "") if isinstance(part, dict) else ""


def _text(content: object) -> str | None:
    """A text, however it is wrapped; None where there is none."""
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, dict):
        return _text(
            next(
                (content[key] for key in ("text", "thinking", "reasoning", "value", "content") if key in content), None
            )
        )
    return "".join(_text(part) or "" for part in content) if isinstance(content, list) else str(content)


def _reasoning(message: Mapping[str, Any]) -> str:
    found = (_text(message.get(key)) for key in ("reasoning_content", "reasoning", "thinking", "reasoning_details"))
    return next((text for text in found if text), "")


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    given = function.get("arguments")
    arguments = given if isinstance(given, str) else json.dumps(given or {})
    return {
        "id": str(call.get("id") or "call"),
        "type": "function",
        "function": {"name": str(function.get("name") or "reply"), "arguments": arguments},
    }
