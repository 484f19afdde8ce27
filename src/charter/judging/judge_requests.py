"""What a judge is asked: one exchange under a rubric, or two responses side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from charter.errors import SpecError
from charter.judging.reply_schemas import object_schema
from charter.judging.rubrics import CONDUCT, Rubric
from charter.records.chat import Exchange, Message, Prompt, Request, Sampling
from charter.records.record import Step, digest
from charter.records.templates import Templates, draw_nonce, fence_text, render, render_conversation, user_turn
from charter.spec import JudgingSpec

MAX_REPLY_TOKENS = 512
"""Tokens of a judge's reply."""


RETRY_TEMPERATURE = 0.5
"""Least temperature of a reply that is asked for again: at 0 another seed would change nothing."""


COMPARISON_MENU = {"first": "the first response is better", "second": "the second response is better"}
"""The menu of a comparison."""


class JudgeAttempt(NamedTuple):
    """The ``again``-th retry (0: the first try) of a vote (0: the first). Each one has an id and a seed of its own."""

    vote: int = 0
    retry: int = 0

    def request_id(self, item: str) -> str:
        """The item's id, with marks where this is not the very first try."""
        return item + (f"/vote{self.vote + 1}" if self.vote else "") + (f"/again{self.retry}" if self.retry else "")


FIRST_ATTEMPT = JudgeAttempt()


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
    sampling: Sampling = Sampling(max_tokens=MAX_REPLY_TOKENS),  # noqa: B008
    attempt: JudgeAttempt = FIRST_ATTEMPT,
) -> Request:
    """What a judge is asked about one exchange: prompt, response and policy, fenced, with the rubric's menu. Votes
    after the first see the menu in another order."""
    id = attempt.request_id(exchange.id)
    schema = judge_schema(rubric) if rubric.reply == "json" else None
    seed, sampling = step.seed(id), with_retry_temperature(sampling, attempt)
    if not rubric.template:
        turns = (*exchange.prompt.messages, Message(role="assistant", content=exchange.response))
        return Request(id=id, messages=turns, sampling=sampling, seed=seed)
    draw, prompt = step.random(f"{id}|{rubric.name}"), render_conversation(exchange.prompt)
    fence = draw_nonce(draw, prompt, exchange.response)
    labels = list(rubric.menu)
    if attempt.vote:
        draw.shuffle(labels)
    fields = {
        "prompt": fence_text("prompt", prompt, fence),
        "response": fence_text("response", exchange.response, fence),
        "schema": json.dumps(schema),
    }
    template = rubric.template if "{" in rubric.template else getattr(templates, rubric.template)
    text = render_rubric(template, rubric, labels, fields, step) + retry_reminder(templates, labels, attempt)
    return Request(id=id, messages=user_turn(text), sampling=sampling, seed=seed, response_schema=schema)


class SideBySide(NamedTuple):
    """Two responses to one prompt, and the rule that they are compared under; empty: none."""

    prompt: Prompt
    responses: tuple[str, str]
    rule: str = ""


def compare_request(
    id: str, pair: SideBySide, templates: Templates, step: Step, attempt: JudgeAttempt = FIRST_ATTEMPT
) -> Request:
    """What a judge is asked about two responses to one prompt."""
    prompt, responses, rule = pair
    schema = object_schema({"rationale": {"type": "string"}, "label": {"enum": sorted(COMPARISON_MENU)}})
    key, asked = attempt.request_id(id), render_conversation(prompt)
    fence = draw_nonce(step.random(f"{key}|compare"), asked, *responses)
    fields = {
        "prompt": fence_text("prompt", asked, fence),
        "first": fence_text("first", responses[0], fence),
        "second": fence_text("second", responses[1], fence),
        "rule": fence_text("rule", rule, draw_nonce(step.random(f"{rule}|rule"), rule)) if rule else "",
        "menu": "\n".join(f"- {label}: {meaning}" for label, meaning in COMPARISON_MENU.items()),
        "schema": json.dumps(schema),
    }
    template = templates.prefer if rule else templates.compare
    text = render(template, fields) + retry_reminder(templates, list(COMPARISON_MENU), attempt)
    sampling = with_retry_temperature(Sampling(max_tokens=MAX_REPLY_TOKENS), attempt)
    return Request(id=key, messages=user_turn(text), sampling=sampling, seed=step.seed(key), response_schema=schema)


def label_template(rubric: Rubric, templates: Templates) -> str:
    """What a judge is asked by whose labels are read by their probabilities. A rubric whose reply begins with the label
    keeps its own template. Raises SpecError where the rubric asks for no label alone."""
    own = "{" in rubric.template
    if not rubric.template or (own and rubric.reply == "json"):
        why = "its own template asks for JSON" if own else "it is sent as a conversation, which asks for no label"
        raise SpecError(
            f"the rubric {rubric.name} cannot be read by labels: {why}",
            cure="Set options.judge.read: rationale, or give the rubric `reply: lines` and a template that asks for a "
            "label.",
        )
    if rubric.reply == "lines":
        return rubric.template if own else str(getattr(templates, rubric.template))
    return templates.judge_label


def policy_text(rubric: Rubric) -> str:
    """The policy that a rubric judges by: its text, then its categories by code."""
    categories = [f"{code}: {meaning}" for code, meaning in rubric.categories.items()]
    return "\n".join([*([rubric.policy.strip()] if rubric.policy else []), *categories])


def render_rubric(template: str, rubric: Rubric, labels: Sequence[str], fields: Mapping[str, str], step: Step) -> str:
    """A judge's template with ``fields`` and the rubric's parts: policy, norms, and the menu of ``labels`` in order.
    One mark fences policy and norms in all calls of a step, so that the beginning of its prompts is shared."""
    policy = policy_text(rubric)
    fence = draw_nonce(step.random(f"{rubric.name}|fixed"), policy, *(norm.text for norm in rubric.norms))
    norms, menu = norms_block(rubric, fence), "\n".join(f"- {label}: {rubric.menu[label]}" for label in labels)
    parts = {"policy": fence_text("policy", policy, fence) if policy else "", "menu": menu + norms}
    return render(template, {**fields, **parts}) + (norms if "{menu}" not in template else "")


def norms_block(rubric: Rubric, fence: str) -> str:
    """The norms of a rubric, fenced; nothing where people decided nothing."""
    holds = [fence_text("holds", norm.text, fence) for norm in rubric.norms if norm.holds]
    gone = [fence_text("withdrawn", norm.text, fence) for norm in rubric.norms if not norm.holds]
    parts = ["\n\nPeople have decided what follows; it goes before the wording of the labels."] if rubric.norms else []
    parts += ["A response that breaks one of these rules is bad, a refusal under it is right:", *holds] if holds else []
    parts += ["These rules hold no longer; what they forbade is harmless now:", *gone] if gone else []
    return "\n".join(parts)


def retry_reminder(templates: Templates, labels: list[str], attempt: JudgeAttempt) -> str:
    """What is added where an earlier reply could not be read."""
    return render(templates.retry, {"labels": ", ".join(labels)}) if attempt.retry else ""


def with_retry_temperature(sampling: Sampling, attempt: JudgeAttempt) -> Sampling:
    """The sampling of a try."""
    return (
        sampling.model_copy(update={"temperature": max(RETRY_TEMPERATURE, sampling.temperature)})
        if attempt.retry
        else sampling
    )


def judging_digest(rubric: Rubric, templates: Templates, judging: JudgingSpec, *, classified: bool = False) -> str:
    """A digest of everything but the model and the rubric that a verdict depends on; ``classified``: it is a
    classifier's, which is asked in no words."""
    if classified:
        return digest(["classified"])[:12]
    alone = judging.judge_input == "response" and rubric.name == CONDUCT.name
    if judging.read == "label":
        return digest([label_template(rubric, templates), judging.read])[:12]
    template = templates.paper_judge if alone else getattr(templates, rubric.template, rubric.template)
    return digest([template, templates.retry, judging.votes, judging.retries, judging.temperature])[:12]
