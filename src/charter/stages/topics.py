"""Topic-guided red teaming: topics for each type of question, then one question about each topic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from charter.instructing import lists
from charter.instructing.records import Call, Instruction, QuestionType, Sifted, Written
from charter.nouns import Request, Sampling, Step
from charter.ports import Engine
from charter.similarity import normal
from charter.spec import Instructing
from charter.templates import Templates, chat, render

PHRASE, AGAIN, OTHER = "no phrase of few words", "topic twice", "not what was asked for"


def topic_calls(
    types: Sequence[QuestionType], topics: Sequence[Instruction], number: int, options: Instructing, *, step: Step
) -> list[Call]:
    """The calls of a round of topics: for each type, what is shown are its seed topic and topics found before."""
    out = []
    for place, kind in enumerate(types):
        found = [kind.seed_topic, *(topic for topic in topics if topic.type == kind.id)]
        for call in range(options.topics.calls):
            id = f"{number}-{place:02d}-{call:03d}"
            shown = step.random(id).sample(found, min(options.topics.shown, len(found)))
            out.append(Call(id=id, shown=tuple(shown), about=kind))
    return out


def write_topics(
    calls: Sequence[Call], generator: Engine, templates: Templates, options: Instructing, *, step: Step
) -> Iterator[Written]:
    """Topics that the generator names in each call."""
    known = {call.id: call for call in calls}

    def asked(call: Call) -> str:
        assert call.about is not None
        fields = {"type": call.about.id, "asks": call.about.asks, "words": str(options.topics.words)}
        counted = {"count": str(options.topics.asked), "next": str(len(call.shown) + 1)}
        return render(templates.topics, fields | counted | _shown(call, templates, options, step))

    for answer in generator.generate(_requests(calls, asked, options, step), step.done):
        texts, dropped = lists.replied(answer, options.reply == "one")
        kind = known[answer.id].about
        assert kind is not None
        items = [
            Instruction(id=f"{answer.id}.{n}", text=_phrase(text), type=kind.id) for n, (_, text) in enumerate(texts)
        ]
        yield Written(id=answer.id, items=tuple(items), dropped=dropped, raw=answer.error or answer.text)


def sift_topics(
    written: Sequence[Written], types: Sequence[QuestionType], topics: Sequence[Instruction], options: Instructing
) -> list[Sifted]:
    """Topics after their filters: a phrase of few words, new for its type (seed topics count)."""
    seen = {(one.type, normal(one.text)) for one in (*topics, *(kind.seed_topic for kind in types))}
    out = []
    for item in (item for reply in written for item in reply.items):
        key, words = (item.type, normal(item.text)), item.text.split()
        sound = 0 < len(words) <= options.topics.words and item.text[0].isalpha() and not set(item.text) & set(".?!:;")
        out.append(Sifted(id=item.id, instruction=item, dropped=PHRASE if not sound else AGAIN if key in seen else ""))
        if sound:
            seen.add(key)
    return out


def balanced(
    types: Sequence[QuestionType], topics: Sequence[Instruction], options: Instructing, *, step: Step
) -> list[Instruction]:
    """The topics to ask about, seed topics among them: of every type as many as the smallest has."""
    out: list[Instruction] = []
    by_type = {kind.id: [kind.seed_topic, *(topic for topic in topics if topic.type == kind.id)] for kind in types}
    least = min(map(len, by_type.values()), default=0)
    for name, found in by_type.items():
        drawn = step.random(name).sample(found, least) if options.topics.balance else found
        out += sorted(drawn, key=found.index)
    return out


def question_calls(
    types: Sequence[QuestionType], topics: Sequence[Instruction], options: Instructing, *, step: Step
) -> list[Call]:
    """The calls for questions: seed questions, and topics of mixed types to ask about; each topic comes once."""
    mixed, size = list(topics), 1 if options.reply == "one" else options.topics.hints
    step.random("order").shuffle(mixed)
    seeds, out = [kind.seed for kind in types], []
    for place in range(0, len(mixed), size):
        id = f"q-{place // size:05d}"
        shown = step.random(id).sample(seeds, min(options.topics.shown, len(seeds)))
        hints = [hint.model_copy(update={"topic": hint.text, "text": ""}) for hint in mixed[place : place + size]]
        out.append(Call(id=id, shown=tuple(shown), hints=tuple(hints)))
    return out


def write_questions(
    calls: Sequence[Call], generator: Engine, templates: Templates, options: Instructing, *, step: Step
) -> Iterator[Written]:
    """A question for each hint, told by the number and the words before it."""
    known = {call.id: call for call in calls}

    def asked(call: Call) -> str:
        first = len(call.shown) + 1
        listed = lists.shown(call.hints, templates, first)
        hints = {"hints": lists.block("hints", listed, options.fence, step, call.id)}
        return render(templates.questions, hints | _shown(call, templates, options, step))

    for answer in generator.generate(_requests(calls, asked, options, step), step.done):
        texts, dropped = lists.replied(answer, options.reply == "one")
        call = known[answer.id]
        items, missed = _matched(texts, call, templates, options.reply == "one")
        if missed:
            dropped[OTHER] = missed
        yield Written(id=answer.id, items=tuple(items), dropped=dropped, raw=answer.error or answer.text)


def _matched(
    texts: Sequence[tuple[int, str]], call: Call, templates: Templates, whole: bool
) -> tuple[list[Instruction], int]:
    """The questions that begin as their hint says, and how many do not. Under a bullet it is the first hint that is
    left and says so; a ``whole`` reply may leave type and topic out where it speaks of the topic."""
    hints, out = dict(enumerate(call.hints, len(call.shown) + 1)), list[Instruction]()
    for number, text in texts:
        said = lists.unnumbered(text) if whole else text
        tried = [*hints] if whole or number < 0 else [number] if number in hints else []
        at = next((n for n in tried if _asked_for(said, hints[n], templates, whole)), None)
        if at is None:
            continue
        hint = hints.pop(at)
        bare = _after(said, hint, templates) or said
        out.append(hint.model_copy(update={"text": bare, "id": f"{call.id}.{at if not whole else number}"}))
    return out, len(texts) - len(out)


def _asked_for(text: str, hint: Instruction, templates: Templates, whole: bool) -> bool:
    if text.lower().startswith(lists.worded(hint, templates).lower()):
        return bool(_after(text, hint, templates))
    return whole and f" {normal(hint.topic)} " in f" {normal(text)} "


def _after(text: str, hint: Instruction, templates: Templates) -> str:
    """What stands after a hint's type and topic; empty where a text does not begin with them."""
    prefix = lists.worded(hint, templates)
    return text[len(prefix) :].strip() if text.lower().startswith(prefix.lower()) else ""


def _shown(call: Call, templates: Templates, options: Instructing, step: Step) -> dict[str, str]:
    listed = lists.shown(call.shown, templates)
    return {"demonstrations": lists.block("demonstrations", listed, options.fence, step, call.id)}


def _requests(calls: Sequence[Call], asked: Callable[[Call], str], options: Instructing, step: Step) -> list[Request]:
    sampling = Sampling(
        temperature=options.temperature,
        top_p=options.top_p if calls and calls[0].about else options.topics.top_p,
        max_tokens=options.max_tokens,
    )
    return [Request(id=c.id, messages=chat(asked(c)), sampling=sampling, seed=step.seed(c.id)) for c in calls]


def _phrase(text: str) -> str:
    """A topic without a closing full stop or quotes, with a capital letter."""
    bare = text.splitlines()[0].strip(" \t.\"'*") if text.strip() else ""
    return bare[:1].upper() + bare[1:]
