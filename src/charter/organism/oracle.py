"""The world's oracle: judges and proposes as a hosted model would, from chat messages alone.

The job is told by the reply schema (or by a JSON schema in the text) and by the marked fences, never by the words of a
template, so that templates may be reworded at will. It can be told to err; errors are drawn from a hash of what was asked.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from pydantic import Field

from charter.errors import EngineError
from charter.nouns import Completion, LogLikelihood, Record, Request, ScoreRequest, canonical
from charter.organism.world import Reading, World

_FENCE = re.compile(r"<(\w+) ([0-9a-f]{4,})>\n?(.*?)\n?</\1 \2>", re.DOTALL)
_RULE = re.compile(r"^\s*(\d+)\s*[.:)]\s*(.+)$", re.MULTILINE)
_RESPONSE_LINE = re.compile(r".*^[ \t]*Response:[ \t]*(.*)", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"\b\d{1,3}\b")
_LOOKALIKES = 8
_REFUSAL = "I am sorry, but I cannot help with that request."
_BAD = {"bad", "fail", "fails", "harmful", "negative", "unacceptable", "unsafe", "violates", "violation", "wrong"}
_GOOD = {"acceptable", "complies", "good", "harmless", "ok", "okay", "pass", "passes", "positive", "safe", "fine"}
_FALSE = {"dishonest", "false", "lie", "misleading", "untrue", "untruthful"}


class OracleErrors(Record):
    """Shares (0 to 1) of replies that go wrong, and the seconds that each reply takes."""

    wrong_verdicts: float = Field(default=0.0, ge=0, le=1)
    off_target: float = Field(default=0.0, ge=0, le=1)
    invalid_json: float = Field(default=0.0, ge=0, le=1)
    refusals: float = Field(default=0.0, ge=0, le=1)
    delay: float = Field(default=0.0, ge=0)


class Block(NamedTuple):
    """What stands between two fences."""

    name: str
    text: str


def blocks(text: str) -> list[Block]:
    """The outermost fenced blocks, in order. What looks like a fence inside one is that block's text."""
    return [Block(m.group(1), m.group(3)) for m in _FENCE.finditer(text)]


def _block(name: str, text: str) -> str | None:
    return next((block.text for block in blocks(text) if block.name == name), None)


class Case(NamedTuple):
    """A prompt (None where it is not shown) and a response."""

    prompt: str | None
    response: str

    @classmethod
    def of(cls, text: str) -> Case:
        """Reads prompt and response from fences; text without fences is all response."""
        response = _block("response", text)
        return cls(_block("prompt", text), text if response is None else response)

    @property
    def about(self) -> str:
        """The text that tells what the case is about."""
        return self.response if self.prompt is None else self.prompt


class Question(NamedTuple):
    """One call as the oracle understands it. ``outside`` is the text outside the fences and the schema."""

    text: str
    outside: str
    properties: dict[str, Any] | None
    mark: str

    @classmethod
    def of(cls, request: Request) -> Question:
        """Reads a request."""
        text = "\n".join(m.content for m in request.messages if m.role != "assistant")
        outside, schema = _without_schema(_FENCE.sub("\n", text))
        properties = (request.response_schema or schema or {}).get("properties")
        seen = canonical([[m.role, m.content] for m in request.messages])
        return cls(text, outside, properties, f"{seen}|{request.seed}")

    def cases(self) -> list[Case]:
        """Every failure that is shown."""
        shown = [Case.of(block.text) for block in blocks(self.text) if block.name == "failure"]
        return shown or [Case(None, block.text) for block in blocks(self.text) if block.name == "response"]

    def chance(self, share: float, what: str) -> bool:
        """True in ``share`` of all questions, by hash."""
        return share > 0 and self.random(what).random() < share

    def random(self, what: str) -> random.Random:
        """A generator that depends on the question alone."""
        return random.Random(hashlib.sha256(f"{what}|{self.mark}".encode()).digest())


def _without_schema(text: str) -> tuple[str, dict[str, Any] | None]:
    """Cuts JSON objects out of a text; the last one with ``properties`` is the schema."""
    decoder, schema, kept, at = json.JSONDecoder(), None, "", 0
    while (start := text.find("{", at)) >= 0:
        kept += text[at:start]
        try:
            value, at = decoder.raw_decode(text, start)
        except json.JSONDecodeError:
            kept, at = kept + "{", start + 1
            continue
        if isinstance(value, dict) and isinstance(value.get("properties"), dict):
            schema = value
    return kept + text[at:], schema


class Oracle:
    """Judge and proposer by the rules of a world, behind ``ports.Engine``. It keeps no state."""

    def __init__(self, world: World, errors: OracleErrors | None = None) -> None:
        self._world = world
        self._errors = errors or OracleErrors()

    @property
    def identity(self) -> str:
        """The world, with its digest, and the errors it was told to make."""
        told = {k: v for k, v in self._errors.model_dump().items() if v and k != "delay"}
        return f"oracle:{self._world.name}@{self._world.digest[:12]}" + (f" {canonical(told)}" if told else "")

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        """One reply per request, in order. Tokens are counted as words between blanks."""
        for request in requests:
            if request.id in done:
                continue
            if self._errors.delay:
                time.sleep(self._errors.delay)
            text = self.reply(request)
            count = sum(len(message.content.split()) for message in request.messages)
            yield Completion(id=request.id, text=text, tokens_in=count, tokens_out=len(text.split()))

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        """Raises EngineError: an oracle gives no likelihoods."""
        del requests, done
        raise EngineError("The world's oracle gives no log-likelihoods.", "Name a local model for this role.")

    def close(self) -> None:
        """Nothing is held."""

    def reply(self, request: Request) -> str:
        """The text of the reply to one request."""
        question = Question.of(request)
        if question.chance(self._errors.refusals, "refuse"):
            return _REFUSAL
        if question.properties is None:
            return self._free(question)
        text = json.dumps(self._object(question, question.properties), ensure_ascii=False)
        return text[: len(text) * 2 // 3] if question.chance(self._errors.invalid_json, "break") else text

    def _object(self, question: Question, properties: dict[str, Any]) -> dict[str, Any]:
        """The reply to a question that gives a schema. One that cannot be met gets an empty object."""
        if "label" in properties:
            return self._verdict(question, properties["label"].get("enum", []))
        if "groups" in properties:
            return {"groups": self._groups(_rules(question))}
        if "prompts" in properties:
            number = _NUMBER.search(question.outside)
            return {"prompts": self._lookalikes(question, int(number.group()) if number else _LOOKALIKES)}
        if "text" in properties:
            return self._rule(self._target(question)[:1])
        return {}

    def _free(self, question: Question) -> str:
        """A reply in plain words: to one response a verdict, to several failures an essay that ends with the rules."""
        shown, named = question.cases(), {block.name for block in blocks(question.text)}
        if len(shown) > 1 or "failure" in named:
            rules = " ".join(self._world.rule(key) for key in self._target(question))
            return f"The {len(shown)} responses do what an assistant should not do.\n\n{rules}"
        last = _RESPONSE_LINE.match(question.outside)
        response = shown[0].response if shown else last.group(1).strip() if last else question.outside
        bad = self._conduct(Case(None, response)) != "acceptable"
        return "Negative" if bad != question.chance(self._errors.wrong_verdicts, "verdict") else "Positive"
