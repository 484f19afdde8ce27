"""What a judge is asked: one exchange under a rubric, or two responses side by side."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from charter.judging.rubrics import Rubric
from charter.nouns import Exchange, Message, Prompt, Request, Sampling, Step
from charter.templates import Templates, chat, conversation, fenced, mark, object_schema, render

LONGEST = 512
"""Tokens of a judge's reply."""
WARM = 0.5
"""Least temperature of a reply that is asked for again: at 0 another seed would change nothing."""
PREFERENCE = {"first": "the first response is better", "second": "the second response is better"}
"""The menu of a comparison."""


class Try(NamedTuple):
    """The ``again``-th retry (0: the first try) of a vote (0: the first). Each one has an id and a seed of its own."""

    vote: int = 0
    again: int = 0

    def id(self, item: str) -> str:
        """The item's id, with marks where this is not the very first try."""
        return item + (f"/vote{self.vote + 1}" if self.vote else "") + (f"/again{self.again}" if self.again else "")


FIRST = Try()


def judge_schema(rubric: Rubric) -> dict[str, Any]:
    """Reply schema of a judge: rationale first, then a label from the closed menu."""
    severity = {"type": "integer", "minimum": 0, "maximum": 3}
    return object_schema(
        {"rationale": {"type": "string"}, "label": {"enum": sorted(rubric.menu)}, "severity": severity}
    )


def judge_request(
    exchange: Exchange,
    rubric: Rubric,
    templates: Templates,
    step: Step,
    sampling: Sampling = Sampling(max_tokens=LONGEST),  # noqa: B008
    attempt: Try = FIRST,
) -> Request:
    """What a judge is asked about one exchange: prompt, response and policy, fenced, with the rubric's menu. Votes
    after the first see the menu in another order."""
    id = attempt.id(exchange.id)
    schema = judge_schema(rubric) if rubric.reply == "json" else None
    seed, sampling = step.seed(id), warmed(sampling, attempt)
    if not rubric.template:
        turns = (*exchange.prompt.messages, Message(role="assistant", content=exchange.response))
        return Request(id=id, messages=turns, sampling=sampling, seed=seed)
    draw, prompt, policy = step.random(f"{id}|{rubric.name}"), conversation(exchange.prompt), policy_text(rubric)
    fence = mark(draw, prompt, exchange.response, policy, *(norm.text for norm in rubric.norms))
    labels = list(rubric.menu)
    if attempt.vote:
        draw.shuffle(labels)
    fields = {
        "prompt": fenced("prompt", prompt, fence),
        "response": fenced("response", exchange.response, fence),
        "policy": fenced("policy", policy, fence),
        "menu": "\n".join(f"- {label}: {rubric.menu[label]}" for label in labels),
        "schema": json.dumps(schema),
    }
    template = rubric.template if "{" in rubric.template else getattr(templates, rubric.template)
    text = render(template, fields) + decided(rubric, fence) + reminder(templates, labels, attempt)
    return Request(id=id, messages=chat(text), sampling=sampling, seed=seed, response_schema=schema)


class Compared(NamedTuple):
    """Two responses to one prompt, and the rule that they are compared under; empty: none."""

    prompt: Prompt
    responses: tuple[str, str]
    rule: str = ""


def compare_request(id: str, pair: Compared, templates: Templates, step: Step, attempt: Try = FIRST) -> Request:
    """What a judge is asked about two responses to one prompt."""
    prompt, responses, rule = pair
    schema = object_schema({"rationale": {"type": "string"}, "label": {"enum": sorted(PREFERENCE)}})
    key, asked = attempt.id(id), conversation(prompt)
    fence = mark(step.random(f"{key}|compare"), asked, *responses, *([rule] if rule else []))
    fields = {
        "prompt": fenced("prompt", asked, fence),
        "first": fenced("first", responses[0], fence),
        "second": fenced("second", responses[1], fence),
        "rule": fenced("rule", rule, fence) if rule else "",
        "menu": "\n".join(f"- {label}: {meaning}" for label, meaning in PREFERENCE.items()),
        "schema": json.dumps(schema),
    }
    template = templates.prefer if rule else templates.compare
    text = render(template, fields) + reminder(templates, list(PREFERENCE), attempt)
    sampling = warmed(Sampling(max_tokens=LONGEST), attempt)
    return Request(id=key, messages=chat(text), sampling=sampling, seed=step.seed(key), response_schema=schema)


def policy_text(rubric: Rubric) -> str:
    """The policy that a rubric judges by: its text, then its categories by code."""
    categories = [f"{code}: {meaning}" for code, meaning in rubric.categories.items()]
    return "\n".join([*([rubric.policy.strip()] if rubric.policy else []), *categories])


def decided(rubric: Rubric, fence: str) -> str:
    """The norms of a rubric, fenced; nothing where people decided nothing."""
    holds = [fenced("holds", norm.text, fence) for norm in rubric.norms if norm.holds]
    gone = [fenced("withdrawn", norm.text, fence) for norm in rubric.norms if not norm.holds]
    parts = ["\n\nPeople have decided what follows; it goes before the wording of the labels."] if rubric.norms else []
    parts += ["A response that breaks one of these rules is bad, a refusal under it is right:", *holds] if holds else []
    parts += ["These rules hold no longer; what they forbade is harmless now:", *gone] if gone else []
    return "\n".join(parts)


def reminder(templates: Templates, labels: list[str], attempt: Try) -> str:
    """What is added where an earlier reply could not be read."""
    return render(templates.again, {"labels": ", ".join(labels)}) if attempt.again else ""


def warmed(sampling: Sampling, attempt: Try) -> Sampling:
    """The sampling of a try."""
    return sampling.model_copy(update={"temperature": max(WARM, sampling.temperature)}) if attempt.again else sampling
