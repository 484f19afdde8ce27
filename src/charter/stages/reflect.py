"""Constitution-induced self-reflection: the target criticises its own failure, then answers again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from charter.constitution.document import Constitution, rules_text, select_nearest_rules
from charter.ports import Engine
from charter.records.chat import Exchange, Message, Request, Sampling
from charter.records.record import Step
from charter.records.revisions import Critique, Revision, RevisionTrial
from charter.records.verdicts import Finding
from charter.spec import ReflectSpec
from charter.templates import Templates, render


def make_trials(findings: Sequence[Finding]) -> list[RevisionTrial]:
    """Every finding, to be answered again under the whole constitution."""
    return [RevisionTrial(id=f.id, finding=f) for f in findings]


def critique(
    trials: Sequence[RevisionTrial],
    target: Engine,
    constitution: Constitution,
    templates: Templates,
    options: tuple[ReflectSpec, Sampling],
    *,
    step: Step,
) -> Iterator[Critique]:
    """What the target says of its own answer under the principles. Empty, without a call, where ``turns`` is
    ``direct``."""
    reflecting, sampling = options
    rules = select_rules(trials, constitution, reflecting, templates)
    if reflecting.turns == "direct":
        yield from (Critique(id=t.id, text="") for t in trials if t.id not in step.done)
        return
    requests = [
        Request(
            id=t.id,
            messages=_critique_messages(t, rules[t.id], templates),
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
    constitution: Constitution,
    templates: Templates,
    options: tuple[ReflectSpec, Sampling],
    *,
    step: Step,
) -> Iterator[Revision]:
    """The failure's prompt answered again. The exchange holds the original prompt, so that a judge or a training row
    sees no principle.

    ``critique``: after the critique, as a further turn. ``direct``: the rules appended to the last human turn, as
    IterAlign does."""
    reflecting, sampling = options
    direct, rules = reflecting.turns == "direct", select_rules(trials, constitution, reflecting, templates)
    said = {c.id: c.text for c in critiques}
    known = {t.id: t for t in trials}
    requests = []
    for t in trials:
        if direct:
            messages = _revision_messages(t, rules[t.id], templates)
        else:
            asked = Message(role="user", content=templates.revise)
            messages = (
                *_critique_messages(t, rules[t.id], templates),
                Message(role="assistant", content=said[t.id] or "-"),
                asked,
            )
        requests.append(Request(id=t.id, messages=messages, sampling=sampling, seed=step.seed(t.finding.id)))
    for answer in target.generate(requests, step.done):
        trial = known[answer.id]
        text = (
            re.sub(templates.strip_pattern, "", answer.text, count=1).strip()
            if templates.strip_pattern
            else answer.text
        )
        yield Revision(
            id=answer.id,
            critique=said[answer.id],
            exchange=Exchange(
                id=answer.id,
                prompt=trial.finding.exchange.prompt,
                response=text,
                stop="error" if answer.error else answer.stop,
                model=target.identity,
                sampling=sampling,
                error=answer.error,
            ),
            principles=tuple(p.id for p in rules[answer.id].active),
        )


def revised_exchanges(revisions: Sequence[Revision]) -> list[Exchange]:
    """The revised exchanges, for a judge."""
    return [r.exchange for r in revisions]


def select_rules(
    trials: Sequence[RevisionTrial], constitution: Constitution, options: ReflectSpec, templates: Templates
) -> dict[str, Constitution]:
    """The rules that each trial is shown: all that are not omitted; where these take more than ``rules`` characters,
    those whose words are nearest to the failure's, as many as fit."""
    texts = {t.id: (t.finding.text, t.omitted) for t in trials}
    return select_nearest_rules(texts, constitution, options.max_rule_characters, templates.principle)


def _critique_messages(trial: RevisionTrial, shown: Constitution, templates: Templates) -> tuple[Message, ...]:
    rules = rules_text(shown, templates.principle)
    return (
        *trial.finding.exchange.prompt.messages,
        Message(role="assistant", content=trial.finding.exchange.response),
        Message(role="user", content=render(templates.critique, {"principles": rules})),
    )


def _revision_messages(trial: RevisionTrial, shown: Constitution, templates: Templates) -> tuple[Message, ...]:
    *before, last = trial.finding.exchange.prompt.messages
    rules = rules_text(shown, templates.principle)
    text = render(templates.direct, {"prompt": last.content, "principles": rules})
    return (*before, Message(role=last.role, content=text))
