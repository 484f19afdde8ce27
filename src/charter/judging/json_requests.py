"""JSON asked of a model: a template with fenced texts, a schema for the reply, and the reply as an object."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from charter.judging.reply_schemas import parse_json_object
from charter.ports import Engine
from charter.records.chat import Completion, Request, Sampling
from charter.records.record import Step
from charter.records.templates import draw_nonce, render, user_turn


@dataclass(frozen=True)
class JsonQuestion:
    """One question. ``texts``: what stands between fences, so that the fence's mark occurs in none of them;
    ``fields``: the template's fields, made with the mark."""

    id: str
    texts: Sequence[str]
    fields: Callable[[str], Mapping[str, str]]
    temperature: float = 0.0


@dataclass(frozen=True)
class JsonRequest:
    """How questions are put. A ``schema`` of None asks for free text."""

    template: str
    schema: dict[str, Any] | None
    max_tokens: int


def ask_json(
    engine: Engine, questions: Sequence[JsonQuestion], form: JsonRequest, *, step: Step
) -> Iterator[tuple[Completion, dict[str, Any]]]:
    """Each answer that is not on record yet, with the object that it holds; an empty one where it holds none."""
    schema = {} if form.schema is None else {"schema": json.dumps(form.schema)}
    requests = [
        Request(
            id=question.id,
            messages=user_turn(render(form.template, {**question.fields(_nonce(question, step)), **schema})),
            sampling=Sampling(max_tokens=form.max_tokens, temperature=question.temperature),
            seed=step.seed(question.id),
            response_schema=form.schema,
        )
        for question in questions
    ]
    for answer in engine.generate(requests, step.done):
        yield answer, parse_json_object(answer.text) or {}


def read_texts(reply: Mapping[str, Any], key: str) -> list[str]:
    """The texts of a list in a reply, without those that are empty."""
    found = reply.get(key)
    return [text.strip() for text in found if isinstance(text, str) and text.strip()] if isinstance(found, list) else []


def _nonce(question: JsonQuestion, step: Step) -> str:
    return draw_nonce(step.random(question.id), *question.texts)
