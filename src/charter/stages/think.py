"""Principle-driven self-alignment: the target thinks under rules and exemplars, then answers; what does not pass the
filters is dropped with its reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from charter.constitution.document import Constitution, select_nearest_rules
from charter.constitution.exemplars import Exemplar
from charter.constitution.rule_citations import parse_cited_rules
from charter.ports import Embedder, Engine
from charter.records.chat import Exchange, Message, Prompt, Request, Sampling
from charter.records.record import Step
from charter.records.revisions import FilteredAnswer, ReasonedAnswer, Revision
from charter.records.rules import Lookalikes
from charter.records.templates import Templates, render
from charter.similarity.spelling import count_words, has_unspaced_script, normalize_text
from charter.spec import LookalikeSpec, ReplaySpec, SelfAlignSpec


@dataclass(frozen=True)
class ThinkingSetup:
    """What a thinking model is shown before each prompt: rules, as many as fit into ``max_rule_characters`` (None: all
    of them; else the nearest, by ``embedder`` or by their words), and exemplars."""

    constitution: Constitution
    exemplars: Sequence[Exemplar]
    templates: Templates
    max_rule_characters: int | None
    embedder: Embedder | None = None


def select_for_probing(batch: Sequence[Prompt], contrasting: LookalikeSpec, replaying: ReplaySpec) -> list[Prompt]:
    """The prompts that the target answers without rules first: all, where look-alikes or replay are made of what comes
    of it; none where they are not (the paper)."""
    return list(batch) if contrasting.count or replaying.compliant else []


def collect_prompts(
    batch: Sequence[Prompt],
    lookalikes: Sequence[Lookalikes],
    helpful: Sequence[Prompt],
    written: Sequence[Prompt],
    options: SelfAlignSpec,
    *,
    step: Step,
) -> list[Prompt]:
    """The prompts to be answered under the rules, each once: those of the sources with their look-alikes and some
    ordinary ones, what self-instruct wrote, or both."""
    ordinary = list(helpful)
    step.random("ordinary").shuffle(ordinary)
    sources = [*batch, *(p for found in lookalikes for p in found.prompts), *ordinary[: options.ordinary]]
    chosen = {"source": sources, "instruct": list(written), "both": [*sources, *written]}[options.prompts]
    return list({p.id: p for p in chosen}.values())


def think(
    prompts: Sequence[Prompt],
    target: Engine,
    setup: ThinkingSetup,
    options: SelfAlignSpec,
    *,
    step: Step,
) -> Iterator[ReasonedAnswer]:
    """A thought and an answer to each prompt, under the rules and after the exemplars. The exchange holds the original
    prompt and the answer alone. Where not all rules fit, those that are shown keep their numbers, by which exemplars
    name them."""
    constitution, templates = setup.constitution, setup.templates
    texts: dict[str, tuple[str, Sequence[str]]] = {p.id: (p.text, ()) for p in prompts}
    shown = select_nearest_rules(texts, constitution, setup.max_rule_characters, templates.rule, setup.embedder)
    numbers = {p.id: n for n, p in enumerate(constitution.active, 1)}
    sampling = Sampling(temperature=options.temperature, top_p=options.top_p, max_tokens=options.max_tokens)
    known = {p.id: p for p in prompts}
    requests = [
        Request(
            id=p.id,
            messages=_think_messages(p, _render_rules(shown[p.id], numbers, templates), setup.exemplars, templates),
            sampling=sampling,
            seed=step.seed(p.id),
        )
        for p in prompts
    ]
    for reply in target.generate(requests, step.done):
        found = re.match(templates.thought_pattern, reply.text)
        thought, answer = (found["thought"].strip(), found["answer"].strip()) if found else ("", reply.text.strip())
        seen = {p.id for p in shown[reply.id].active}
        used = tuple(id for id in parse_cited_rules(thought, constitution, "{number}" in templates.rule) if id in seen)
        exchange = Exchange.from_completion(known[reply.id], reply, model=target.identity, sampling=sampling)
        yield ReasonedAnswer(
            id=reply.id,
            thought=thought,
            rules=used,
            exchange=exchange.model_copy(update={"response": answer}),
            raw=reply.text,
        )


def filter_answers(
    reasoned: Sequence[ReasonedAnswer], exemplars: Sequence[Exemplar], options: SelfAlignSpec
) -> list[FilteredAnswer]:
    """Each answer with its thought as critique and the rules that the thought names; or every reason against it."""
    shown = [
        run
        for e in exemplars
        for text in (e.prompt, e.thought, e.answer)
        for run in _word_ngrams(text, options.leak_words)
    ]
    leaks = frozenset(shown)
    return [_filter_answer(r, leaks, options) for r in reasoned]


def select_passed(sifted: Sequence[FilteredAnswer]) -> list[Revision]:
    """The answers that passed the filters."""
    return [s.revision for s in sifted if s.revision is not None]


def answer_verbosely(
    prompts: Sequence[Prompt], target: Engine, templates: Templates, options: SelfAlignSpec, *, step: Step
) -> Iterator[Revision]:
    """Verbose cloning: what the tuned target answers when it is told to answer at length. The exchange holds the
    prompt without these words."""
    sampling = Sampling(
        temperature=options.clone_temperature,
        top_p=options.clone_top_p,
        max_tokens=options.clone_tokens,
        frequency_penalty=options.clone_penalty,
    )
    known, system = {p.id: p for p in prompts}, Message(role="system", content=templates.verbose)
    requests = [
        Request(id=p.id, messages=(system, *p.messages), sampling=sampling, seed=step.seed(p.id)) for p in prompts
    ]
    for reply in target.generate(requests, step.done):
        exchange = Exchange.from_completion(known[reply.id], reply, model=target.identity, sampling=sampling)
        yield Revision(id=reply.id, critique="", exchange=exchange, principles=())


def _render_rules(shown: Constitution, numbers: Mapping[str, int], templates: Templates) -> str:
    """The rules that are shown, a line each, with the numbers that they have in the whole constitution."""
    return "\n".join(
        render(
            templates.rule,
            {"number": str(numbers[p.id]), "title": p.title or p.id, "text": " ".join(p.text.split())},
        )
        for p in shown.active
    )


def _think_messages(
    prompt: Prompt, rules: str, exemplars: Sequence[Exemplar], templates: Templates
) -> tuple[Message, ...]:
    """The rules as a system turn, exemplars as turns, then the prompt; or the rules with the prompt in its last turn,
    where the template holds both."""
    turns = [
        Message.model_validate({"role": role, "content": text})
        for e in exemplars
        for role, text in (
            ("user", e.prompt.strip()),
            (
                "assistant",
                render(templates.thinking_format, {"thought": e.thought.strip(), "answer": e.answer.strip()}),
            ),
        )
    ]
    if "{prompt}" not in templates.think_prompt:
        return (
            Message(role="system", content=render(templates.think_prompt, {"principles": rules})),
            *turns,
            *prompt.messages,
        )
    *before, last = prompt.messages
    text = render(templates.think_prompt, {"prompt": last.content, "principles": rules})
    return (*turns, *before, Message(role=last.role, content=text))


def _filter_answer(reasoned: ReasonedAnswer, leaks: frozenset[str], options: SelfAlignSpec) -> FilteredAnswer:
    exchange = reasoned.exchange
    text = _cut_repetition(exchange.response, options.max_repeats)
    opening, apologies = _opening(text), tuple(filter(None, map(_opening, options.apologies)))
    own = set(_word_ngrams(exchange.prompt.text, options.leak_words))
    checks = {
        "no answer": exchange.stop == "error",
        "no thought": not reasoned.thought,
        "empty": not text,
        "too short": exchange.stop == "stop" and len(text) < options.min_characters,
        "opens with an apology": bool(apologies) and opening.startswith(apologies),
        "repeats an exemplar": any(run in leaks and run not in own for run in _word_ngrams(text, options.leak_words)),
    }
    reasons = tuple(reason for reason, holds in checks.items() if holds)
    cut = text != exchange.response.strip()
    if reasons:
        return FilteredAnswer(id=reasoned.id, revision=None, reasons=reasons, repetition_cut=cut)
    changed = exchange.model_copy(update={"response": text, "stop": "stop"}) if cut else exchange
    revision = Revision(id=reasoned.id, critique=reasoned.thought, exchange=changed, principles=reasoned.rules)
    return FilteredAnswer(id=reasoned.id, revision=revision, repetition_cut=cut)


def _opening(text: str) -> str:
    """How a text begins, whatever its case, its apostrophes and the marks before its first word."""
    bare = re.sub(r"['\u2018\u2019\u02bc`*_]", "", text.lower())
    return " ".join(re.sub(r"^[\W_]+", "", bare).split())


def _word_ngrams(text: str, length: int) -> list[str]:
    """Every ``length`` words in a row; twice as many letters in a script without spaces."""
    words, length = normalize_text(text).split(), length * (1 + has_unspaced_script(text))
    return [" ".join(words[n : n + length]) for n in range(len(words) - length + 1)]


_ENDS = ".!?;,\\n。！？；，、．｡､؟؛،۔।॥"
"""What ends a clause, in the scripts of the world's larger languages."""


def _cut_repetition(text: str, most: int) -> str:
    """The text up to where a clause of three words or more comes for the ``most``-th time; its repetitions before that
    go too."""
    seen: dict[str, list[int]] = {}
    for found in re.finditer(rf"[^{_ENDS}]+[{_ENDS}]*", text):
        clause = normalize_text(found[0])
        if count_words(clause) < 3:
            continue
        places = seen.setdefault(clause, [])
        places.append(found.start())
        if len(places) == most:
            return text[: places[1]].strip()
    return text.strip()
