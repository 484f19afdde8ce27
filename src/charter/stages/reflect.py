"""Constitution-induced self-reflection: the target criticises its own failure, then answers again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from charter.constitution.answer_form import end_properly, find_recital
from charter.constitution.document import Constitution, rules_text, select_nearest_rules
from charter.ports import Embedder, Engine
from charter.records.chat import Exchange, Message, Request, Sampling
from charter.records.record import Step
from charter.records.revisions import Critique, Revision, RevisionTrial
from charter.records.templates import Templates, render
from charter.records.verdicts import Finding
from charter.spec import ReflectSpec


@dataclass(frozen=True)
class ReflectionSetup:
    """The rules that a model reflects under, and how it is asked; ``embedder``: what tells the nearest rules where not
    all fit (None: their words)."""

    constitution: Constitution
    templates: Templates
    options: ReflectSpec
    embedder: Embedder | None = None


def make_trials(findings: Sequence[Finding]) -> list[RevisionTrial]:
    """Every finding, to be answered again under the whole constitution."""
    return [RevisionTrial(id=f.id, finding=f) for f in findings]


def critique(
    trials: Sequence[RevisionTrial], target: Engine, setup: ReflectionSetup, sampling: Sampling, *, step: Step
) -> Iterator[Critique]:
    """What the target says of its own answer under the principles. Empty, without a call, where ``turns`` is
    ``direct``."""
    if setup.options.turns == "direct":
        yield from (Critique(id=t.id, text="") for t in trials if t.id not in step.done)
        return
    rules = select_rules(trials, setup)
    requests = [
        Request(
            id=t.id,
            messages=_critique_messages(t, rules[t.id], setup.templates),
            sampling=sampling,
            seed=step.seed(t.finding.id),
        )
        for t in trials
    ]
    for answer in target.generate(requests, step.done):
        yield Critique(id=answer.id, text=answer.text)


def revise(
    trials: Sequence[RevisionTrial],
    critiques: Sequence[Critique],
    target: Engine,
    setup: ReflectionSetup,
    sampling: Sampling,
    *,
    step: Step,
) -> Iterator[Revision]:
    """The failure's prompt answered again. The exchange holds the original prompt, so that a judge or a training row
    sees no principle.

    ``critique``: after the critique, as a further turn. ``direct``: the rules appended to the last human turn, as
    IterAlign does."""
    rules, said = select_rules(trials, setup), {c.id: c.text for c in critiques}
    prompts = {t.id: t.finding.exchange.prompt for t in trials}
    requests = [
        Request(
            id=t.id,
            messages=_revision_messages(t, rules[t.id], said[t.id], setup),
            sampling=sampling,
            seed=step.seed(t.finding.id),
        )
        for t in trials
    ]
    pattern = setup.templates.strip_pattern
    for answer in target.generate(requests, step.done):
        exchange = Exchange.from_completion(prompts[answer.id], answer, model=target.identity, sampling=sampling)
        text = re.sub(pattern, "", answer.text, count=1).strip() if pattern else answer.text
        exchange = exchange.model_copy(update={"response": text})
        shown = rules[answer.id].active
        yield Revision(
            id=answer.id,
            critique=said[answer.id],
            exchange=end_properly(exchange) if setup.options.end_sentences else exchange,
            principles=tuple(p.id for p in shown),
            recited=find_recital(text, [p.text for p in shown]),
        )


def revised_exchanges(revisions: Sequence[Revision]) -> list[Exchange]:
    """The revised exchanges, for a judge."""
    return [r.exchange for r in revisions]


def select_rules(trials: Sequence[RevisionTrial], setup: ReflectionSetup) -> dict[str, Constitution]:
    """The rules that each trial is shown: all that are not omitted; where these take more than
    ``max_rule_characters``, those nearest to the failure, as many as fit."""
    texts = {t.id: (t.finding.text, t.omitted) for t in trials}
    room, template = setup.options.max_rule_characters, setup.templates.principle
    return select_nearest_rules(texts, setup.constitution, room, template, setup.embedder)


def _critique_messages(trial: RevisionTrial, shown: Constitution, templates: Templates) -> tuple[Message, ...]:
    rules = rules_text(shown, templates.principle)
    return (
        *trial.finding.exchange.prompt.messages,
        Message(role="assistant", content=trial.finding.exchange.response),
        Message(role="user", content=render(templates.critique, {"principles": rules})),
    )


def _revision_messages(
    trial: RevisionTrial, shown: Constitution, criticised: str, setup: ReflectionSetup
) -> tuple[Message, ...]:
    templates = setup.templates
    if setup.options.turns != "direct":
        return (
            *_critique_messages(trial, shown, templates),
            Message(role="assistant", content=criticised or "-"),
            Message(role="user", content=templates.revise),
        )
    *before, last = trial.finding.exchange.prompt.messages
    rules = rules_text(shown, templates.principle)
    text = render(templates.direct, {"prompt": last.content, "principles": rules})
    return (*before, Message(role=last.role, content=text))
