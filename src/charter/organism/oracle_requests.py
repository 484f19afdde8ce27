"""What the oracle is asked, told by the reply schema and the marked fences, never by the words of a template."""

from __future__ import annotations

import hashlib
import json
import random
import re
from typing import Any, NamedTuple

from charter.records.chat import Request
from charter.records.record import canonical

_FENCE = re.compile(r"<(\w+) ([0-9a-f]{4,})>\n?(.*?)\n?</\1 \2>", re.DOTALL)
_ROLE = re.compile(r"^(?:system|user|assistant): ", re.MULTILINE)
_RULE = re.compile(r"^\s*(\d+)\s*[.:)]\s*(.+)$", re.MULTILINE)
_RESPONSE = re.compile(r"^[ \t]*Response:", re.MULTILINE)
_CODE = re.compile(r"^([A-Z]\d+): ", re.MULTILINE)
_COUNT = re.compile(r"\b\d{1,3}\b")


class FencedBlock(NamedTuple):
    """What stands between two fences."""

    name: str
    text: str


def find_blocks(text: str) -> list[FencedBlock]:
    """The outermost fenced blocks, in order. What looks like a fence inside one is that block's text."""
    return [FencedBlock(found[1], found[3]) for found in _FENCE.finditer(text)]


class JudgedCase(NamedTuple):
    """A prompt (None where it is not shown) and a response."""

    prompt: str | None
    response: str

    @classmethod
    def parse(cls, text: str) -> JudgedCase:
        """From fences ``prompt`` and ``response``; a text without a fenced response is all response."""
        fenced = {block.name: block.text for block in reversed(find_blocks(text))}
        return cls(fenced.get("prompt"), fenced.get("response", text))

    @property
    def topic_text(self) -> str:
        """The text that tells what the case is about."""
        return self.response if self.prompt is None else self.prompt

    @property
    def last_turn(self) -> str:
        """The last turn of the prompt; the first line where no prompt is marked."""
        if self.prompt is None:
            return self.response.strip().partition("\n")[0]
        return _ROLE.split(self.prompt)[-1].strip()


class OracleRequest(NamedTuple):
    """One call. ``outside`` is its text outside fences and schemas; ``properties`` are those of the reply's schema."""

    text: str
    outside: str
    properties: dict[str, Any] | None
    seed_text: str

    @classmethod
    def parse(cls, request: Request) -> OracleRequest:
        """From the messages and the reply schema; where that is missing, from a JSON schema in the text. As for any
        model, a seed (of 31 bits) tells only where the temperature is above 0."""
        text = "\n".join(message.content for message in request.messages)
        outside, schema = _split_schema(_FENCE.sub("\n", text))
        properties = (request.response_schema or schema or {}).get("properties")
        seed = request.seed % 2**31 if request.sampling.temperature > 0 else 0
        return cls(text, outside, properties, f"{canonical(list(request.messages))}|{seed}")

    @property
    def judged_case(self) -> JudgedCase:
        """The case to be judged; without fences, the response after the last "Response:"."""
        if any(block.name == "response" for block in find_blocks(self.text)):
            return JudgedCase.parse(self.text)
        return JudgedCase(None, _RESPONSE.split(self.outside)[-1].strip())

    @property
    def compared_cases(self) -> tuple[JudgedCase, JudgedCase] | None:
        """Two responses to be compared, with their prompt; None where there are none."""
        shown = {block.name: block.text for block in reversed(find_blocks(self.text))}
        if "first" not in shown or "second" not in shown:
            return None
        return JudgedCase(shown.get("prompt"), shown["first"]), JudgedCase(shown.get("prompt"), shown["second"])

    @property
    def failures(self) -> list[JudgedCase]:
        """Every failure that is shown, with its prompt or without; empty where only one response is to be judged."""
        shown = find_blocks(self.text)
        failures = [JudgedCase.parse(block.text) for block in shown if block.name == "failure"]
        responses = [JudgedCase(None, block.text) for block in shown if block.name == "response"]
        return failures or (responses if len(responses) > 1 else [])

    @property
    def rules(self) -> list[tuple[int, str]]:
        """Numbered rules: in fences, else as numbered lines."""
        fenced = "\n".join(block.text for block in find_blocks(self.text) if block.name.startswith("rule"))
        return [(int(number), rule) for number, rule in _RULE.findall(fenced or self.outside)]

    @property
    def rule(self) -> str:
        """The first fenced rule; empty where there is none."""
        return next((block.text for block in find_blocks(self.text) if block.name == "rule"), "")

    @property
    def codes(self) -> list[str]:
        """The codes of a fenced policy's categories."""
        policies = [block.text for block in find_blocks(self.text) if block.name == "policy"]
        return _CODE.findall(policies[0]) if policies else []

    @property
    def norms(self) -> list[tuple[bool, str]]:
        """Rules that people decided on: whether each holds, and its text."""
        return [(b.name == "holds", b.text) for b in find_blocks(self.text) if b.name in ("holds", "withdrawn")]

    def read_count(self, default: int) -> int:
        """The first number outside fences."""
        found = _COUNT.search(self.outside)
        return int(found[0]) if found else default

    def seeded_random(self, what: str) -> random.Random:
        """A generator that depends on the question alone."""
        return random.Random(hashlib.sha256(f"{what}|{self.seed_text}".encode()).digest())

    def happens(self, share: float, what: str) -> bool:
        """True for ``share`` of all questions, by hash."""
        return share > 0 and self.seeded_random(what).random() < share


def _split_schema(text: str) -> tuple[str, dict[str, Any] | None]:
    """The text without its JSON objects, and the last of these that has ``properties``."""
    decoder, schema, kept, at = json.JSONDecoder(), None, "", 0
    while (start := text.find("{", at)) >= 0:
        kept += text[at:start]
        try:
            value, at = decoder.raw_decode(text, start)
        except json.JSONDecodeError:
            at = start + 1
            continue
        if isinstance(value.get("properties"), dict):
            schema = value
    return kept + text[at:], schema
