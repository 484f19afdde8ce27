"""What a server means by an error: how long to wait, which parameter it does not take, whose fault it is."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

REFUSED = (400, 413, 422)
"""HTTP statuses that speak of one request; asking again would not help."""
NOT_FOUND = (403, 404, 405, 406, 410, 451)
"""Statuses that speak of one request or of the model: a short question tells which."""
FATAL = {
    401: "Set the provider's API key in the environment (for a base_url: the variable that `key_env` names).",
    403: "The key has no right to this model: check the account, or name another model.",
    404: "Check the model's name and the base_url.",
}
_ACCOUNT = re.compile(
    r"insufficient[ _](quota|funds|balance|credits?)|(no|out of|not enough|run out of) credits?|credit balance|"
    r"billing|payment required|exceeded your current quota|account is (overdue|suspended|in arrears)",
    re.I,
)
_SCHEMA = re.compile(r"response_?format|json_?(schema|object|mode)|schema|structured|grammar|guided|constrain", re.I)
_LONG = re.compile(r"context|prompt|input|messages|length", re.I)
"""Words about a request that does not fit as a whole."""
_SYSTEM = re.compile(
    r"system\W{0,3}(role|message|prompt|instruction|turn)|role\W{0,20}system|roles? must alternate", re.I
)
_STREAM = re.compile(r"\bstream", re.I)
_ONLY = re.compile(r"\bonly\b|\bmust\b|\benable|\brequire|\bset\b|non-?stream", re.I)
_REFUSES = re.compile(
    r"not (support|take|allow|permit|accept|recogni|known|valid)|n't support|unsupported|unknown|unrecogni|unexpected|"
    r"extra (input|field|param)|only .{0,40}(default|supported|allowed)|cannot|invalid|deprecated|no longer|remove",
    re.I,
)
_COMMON = ("stop", "seed")
"""Names that are words of English too: they count where they stand in quotation marks."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhd])(?![a-z])")
_WORDED = re.compile(
    r"(?:try again|retry|wait)\D{0,20}?(\d+(?:\.\d+)?)\s*(ms|milliseconds?|s|sec(?:ond)?s?|m(?:in(?:ute)?s?)?)\b", re.I
)


@dataclass(frozen=True)
class Refusal:
    """What a server said of a call that it did not answer. ``names``: the error's code and type."""

    status: int | None
    words: str
    names: str = ""
    param: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""

    @property
    def of_account(self) -> bool:
        """The account has no money left: no call will be answered, and the model is not at fault."""
        said = f"{self.names} {self.words}"
        return self.status == 402 or (self.status in (400, 403, 429) and _ACCOUNT.search(said) is not None)

    @property
    def names_schema(self) -> bool:
        """It speaks of reply schemas as such."""
        return _SCHEMA.search(f"{self.param} {self.words}") is not None

    @property
    def may_be_schema(self) -> bool:
        """A schema may be what the server failed on: it refused the request, or names one, or failed inside."""
        passing = self.status in (401, 402, 403, 404, 408, 429)
        return self.status is not None and not passing and (self.status != 503 or self.names_schema)

    def refuses_system(self) -> bool:
        """The model's template has no system turns."""
        return self._of_request and _SYSTEM.search(self.words) is not None and not re.search("token|length", self.words)

    def wants_stream(self) -> bool:
        """The server answers in streams alone."""
        return self._of_request and bool(_STREAM.search(self.words) and _ONLY.search(self.words))

    def refused_key(self, sent: Collection[str]) -> str:
        """The parameter, among those that were sent, that the server does not take; empty where it names none. One
        whose value is too large for this request alone is not refused."""
        if not self._of_request:
            return ""
        for key in sorted(sent, key=len, reverse=True):
            if key == "response_format":
                continue
            quoted = rf"(?:^|['\"`]){key}(?:['\"`]|$)" if key in _COMMON else rf"(?<![\w]){key}(?![\w])"
            named = self.param == key or re.search(quoted, self.words) is not None
            length = key in ("max_tokens", "max_completion_tokens")
            if named and (self.param == key or _REFUSES.search(f"{self.names} {self.words}")):
                if length and _LONG.search(self.words) and "unsupported" not in self.names:
                    continue
                return key
        return ""

    @property
    def _of_request(self) -> bool:
        return self.status in (*REFUSED, 500, 501)

    def wait(self, now: float | None = None) -> float | None:
        """The seconds that the server asks to wait, however it says so; the longest of what it says. ``now``: seconds
        since 1970."""
        now = time.time() if now is None else now
        told = [_milliseconds(self.headers.get("retry-after-ms")), _moment(self.headers.get("retry-after"), now)]
        if all(wait is None for wait in told):
            told = [_moment(value, now) for value in _resets(self.headers)] if self.status in (429, 503) else []
            told += [
                _span(found)
                for found in re.findall(r'"retry_?(?:delay|after)"\s*:\s*"?([\d.]+\s*m?s?)"?', self.body, re.I)
            ]
            told += [
                _moment(found, now) for found in re.findall(r'"x-ratelimit-reset"\s*:\s*"?([\d.]+)"?', self.body, re.I)
            ]
            told += [_span(f"{n} {unit}") for n, unit in _WORDED.findall(self.words)]
        waits = [wait for wait in told if wait is not None]
        return max(waits) if waits else None


def read_refusal(error: BaseException) -> Refusal:
    """An exception of a provider's client, or of ours, as what the server said."""
    body: Any = getattr(error, "body", None)
    inner = body.get("error") if isinstance(body, dict) and isinstance(body.get("error"), dict) else body
    told: Mapping[str, Any] = inner if isinstance(inner, dict) else {}
    headers = getattr(getattr(error, "response", None), "headers", None) or getattr(error, "headers", None) or {}
    status = getattr(error, "status_code", None)
    return Refusal(
        status=status if isinstance(status, int) else None,
        words=_words(body, told) or str(getattr(error, "provider_message", None) or error),
        names=f"{told.get('code') or ''} {told.get('type') or ''}".strip(),
        param=str(told.get("param") or ""),
        headers={str(name).lower(): str(value) for name, value in dict(headers).items()},
        body=json.dumps(body, default=str) if body is not None else "",
    )


def _words(body: object, told: Mapping[str, Any]) -> str:
    """What an error's body says, in whatever form; of a page, what a reader sees."""
    said = next((told[key] for key in ("message", "msg", "detail", "error", "error_msg") if told.get(key)), body)
    if said is None or said == "":
        return ""
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False, default=str)
    return " ".join(re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", text, flags=re.S | re.I).split())


def _resets(headers: Mapping[str, str]) -> list[str]:
    """When limits are reset: those that have nothing left, or all where none says how much is left."""
    resets = {name: value for name, value in headers.items() if "ratelimit" in name and "reset" in name}
    spent = [
        value
        for name, value in resets.items()
        if headers.get(name.replace("reset", "remaining"), "").strip() in ("0", "0.0")
    ]
    joint = re.findall(r"\b(?:reset|t)=([\d.]+)", headers.get("ratelimit", ""))
    return [*(spent or resets.values()), *joint]


def _milliseconds(value: str | None) -> float | None:
    try:
        return float(value) / 1000 if value is not None else None
    except ValueError:
        return None


def _moment(value: str | None, now: float) -> float | None:
    """Seconds from now: a number of seconds, a moment since 1970 in seconds or milliseconds, a date, or a span."""
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        return _date(value, now) if (found := _span(value)) is None else found
    if number > 1e11:
        number = number / 1000 - now
    elif number > 1e8:
        number -= now
    return max(0.0, number)


def _span(value: str) -> float | None:
    """Seconds of a span such as 6m0s, 250ms or 1.5 s."""
    text = re.sub(r"\s*(milliseconds?)", "ms", value.strip(), flags=re.I)
    text = re.sub(r"\s*(sec(ond)?s?)\b", "s", text, flags=re.I)
    text = re.sub(r"\s*(min(ute)?s?)\b", "m", text, flags=re.I)
    if re.fullmatch(r"[\d.]+", text):
        return float(text)
    parts = _SPAN.findall(text)
    whole = "".join(f"{number}{unit}" for number, unit in parts)
    return (
        sum(float(number) * _UNITS[unit] for number, unit in parts)
        if parts and whole == re.sub(r"\s", "", text)
        else None
    )


def _date(value: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        try:
            moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - now)
