"""JSON read without trust: UTF-8 alone, bounded depth and size, each key once, and no number that is not one."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 64
"""Objects and lists within one another. What charter writes has fewer than ten."""
MAX_LINE_BYTES = 64 << 20
"""The longest line that is read."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json(data: bytes, finite: bool = True) -> Any:
    """The value of a JSON text. ``finite``: NaN and Infinity are refused too. Raises ValueError that says why."""
    if len(data) > MAX_LINE_BYTES:
        raise ValueError(f"longer than {MAX_LINE_BYTES >> 20} MiB")
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _measure_depth(data) > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    value = (_FINITE if finite else _ANY_NUMBER).decode(data.decode())
    if _SURROGATE.search(data):
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _measure_depth(data: bytes) -> int:
    depth = deepest = 0
    for token in _TOKEN.finditer(data):
        first = token[0][:1]
        if first in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif first in b"]}":
            depth -= 1
    return deepest


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


_FINITE = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
_ANY_NUMBER = json.JSONDecoder(object_pairs_hook=_unique_keys)
"""Made once: making one takes longer than reading a short line."""
