"""JSON asked of a model: fenced, with a schema, and read whatever the reply is."""

from __future__ import annotations

import json
import re

import pytest

from charter.judging.json_requests import JsonQuestion, JsonRequest, ask_json, read_texts
from charter.judging.reply_schemas import LOOKALIKE_SCHEMA
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.record import Step
from charter.records.templates import fence_text
from tests.fakes.example_records import HOSTILE, STEP, Recorder

FORM = JsonRequest("{text}\nReply: {schema}", LOOKALIKE_SCHEMA, max_tokens=64)


def question(id: str, text: str) -> JsonQuestion:
    return JsonQuestion(id, (text,), lambda nonce: {"text": fence_text("prompt", text, nonce)})


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_stands_between_fences_that_it_cannot_close(text: str) -> None:
    engine = Recorder('{"prompts": ["a"]}')
    ((answer, reply),) = ask_json(engine, [question("q", text)], FORM, step=STEP)
    (asked,) = engine.asked
    found = re.search(r"<prompt ([0-9a-f]{8})>", engine.texts[0])
    assert found is not None
    assert found[1] not in text
    assert json.dumps(LOOKALIKE_SCHEMA) in engine.texts[0]
    assert (asked.response_schema, asked.sampling.max_tokens) == (LOOKALIKE_SCHEMA, 64)
    assert (answer.id, reply) == ("q", {"prompts": ["a"]})


@pytest.mark.parametrize("reply", ["", "no", "[1]", '{"prompts": ', "null"])
def test_a_reply_without_an_object_is_an_empty_one(reply: str) -> None:
    answers = list(ask_json(ScriptedEngine([reply]), [question("q", "a"), question("r", "b")], FORM, step=STEP))
    assert [(answer.id, found) for answer, found in sorted(answers, key=lambda pair: pair[0].id)] == [
        ("q", {}),
        ("r", {}),
    ]


def test_what_is_answered_already_is_not_asked_again() -> None:
    engine = Recorder("{}")
    step = Step(path=STEP.path, run_seed=7, done=frozenset({"q"}))
    found = ask_json(engine, [question("q", "a"), question("r", "b")], FORM, step=step)
    assert [answer.id for answer, _ in found] == ["r"]


def test_only_texts_that_say_something_are_read() -> None:
    assert read_texts({"prompts": [" a ", "", 7, None, "b"]}, "prompts") == ["a", "b"]
    assert read_texts({"prompts": "a"}, "prompts") == read_texts({}, "prompts") == []
