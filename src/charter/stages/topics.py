"""Topic-guided red teaming: topics for each type of question, then one question about each topic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from charter.data.instructing import numbered_lists
from charter.data.instructing.instruction_records import (
    FilteredInstruction,
    GenerationCall,
    GenerationReply,
    Instruction,
    QuestionType,
)
from charter.ports import Engine
from charter.records.chat import Request, Sampling
from charter.records.record import Step
from charter.records.templates import Templates, render, user_turn
from charter.similarity.spelling import begins_with_letter, count_words, normalize_text
from charter.spec import SelfInstructSpec

NO_PHRASE, REPEATED_TOPIC, OFF_TOPIC = "no phrase of few words", "topic twice", "not what was asked for"


def plan_topic_calls(
    types: Sequence[QuestionType], topics: Sequence[Instruction], number: int, options: SelfInstructSpec, *, step: Step
) -> list[GenerationCall]:
    """The calls of a round of topics: for each type, what is shown are its seed topic and topics found before."""
    out = []
    for place, kind in enumerate(types):
        found = [kind.seed_topic, *(topic for topic in topics if topic.type == kind.id)]
        for call in range(options.topics.calls):
            id = f"{number}-{place:02d}-{call:03d}"
            shown = step.random(id).sample(found, min(options.topics.shown, len(found)))
            out.append(GenerationCall(id=id, demonstrations=tuple(shown), question_type=kind))
    return out


def write_topics(
    calls: Sequence[GenerationCall], generator: Engine, templates: Templates, options: SelfInstructSpec, *, step: Step
) -> Iterator[GenerationReply]:
    """Topics that the generator names in each call."""
    known = {call.id: call for call in calls}

    def asked(call: GenerationCall) -> str:
        assert call.question_type is not None
        fields = {
            "type": call.question_type.id,
            "asks": call.question_type.asks,
            "words": str(options.topics.max_topic_words),
        }
        counted = {"count": str(options.topics.asked), "next": str(len(call.demonstrations) + 1)}
        return render(templates.topics, fields | counted | _hint_fields(call, templates, options, step))

    for answer in generator.generate(_build_requests(calls, asked, options, step), step.done):
        texts, dropped = numbered_lists.parse_reply(answer, options.reply == "one")
        kind = known[answer.id].question_type
        assert kind is not None
        items = [
            Instruction(id=f"{answer.id}.{n}", text=_clean_phrase(text), type=kind.id)
            for n, (_, text) in enumerate(texts)
        ]
        yield GenerationReply(id=answer.id, items=tuple(items), dropped=dropped, raw=answer.error or answer.text)


def filter_topics(
    written: Sequence[GenerationReply],
    types: Sequence[QuestionType],
    topics: Sequence[Instruction],
    options: SelfInstructSpec,
) -> list[FilteredInstruction]:
    """Topics after their filters: a phrase of few words, new for its type (seed topics count)."""
    seen = {(one.type, normalize_text(one.text)) for one in (*topics, *(kind.seed_topic for kind in types))}
    out = []
    for item in (item for reply in written for item in reply.items):
        key, words = (item.type, normalize_text(item.text)), count_words(item.text)
        phrase = begins_with_letter(item.text) and not set(item.text) & set(".?!:;。？！：；؟؛।")
        sound = 0 < words <= options.topics.max_topic_words and phrase
        out.append(
            FilteredInstruction(
                id=item.id, instruction=item, dropped=NO_PHRASE if not sound else REPEATED_TOPIC if key in seen else ""
            )
        )
        if sound:
            seen.add(key)
    return out


def balance_topics(
    types: Sequence[QuestionType], topics: Sequence[Instruction], options: SelfInstructSpec, *, step: Step
) -> list[Instruction]:
    """The topics to ask about, seed topics among them: of every type as many as the smallest has."""
    out: list[Instruction] = []
    by_type = {kind.id: [kind.seed_topic, *(topic for topic in topics if topic.type == kind.id)] for kind in types}
    least = min(map(len, by_type.values()), default=0)
    for name, found in by_type.items():
        drawn = step.random(name).sample(found, least) if options.topics.balance else found
        out += sorted(drawn, key=found.index)
    return out


def plan_question_calls(
    types: Sequence[QuestionType], topics: Sequence[Instruction], options: SelfInstructSpec, *, step: Step
) -> list[GenerationCall]:
    """The calls for questions: seed questions, and topics of mixed types to ask about; each topic comes once."""
    mixed, size = list(topics), 1 if options.reply == "one" else options.topics.hints
    step.random("order").shuffle(mixed)
    seeds, out = [kind.seed for kind in types], []
    for place in range(0, len(mixed), size):
        id = f"q-{place // size:05d}"
        shown = step.random(id).sample(seeds, min(options.topics.shown, len(seeds)))
        hints = [hint.model_copy(update={"topic": hint.text, "text": ""}) for hint in mixed[place : place + size]]
        out.append(GenerationCall(id=id, demonstrations=tuple(shown), hints=tuple(hints)))
    return out


def write_questions(
    calls: Sequence[GenerationCall], generator: Engine, templates: Templates, options: SelfInstructSpec, *, step: Step
) -> Iterator[GenerationReply]:
    """A question for each hint, told by the number and the words before it."""
    known = {call.id: call for call in calls}

    def asked(call: GenerationCall) -> str:
        first = len(call.demonstrations) + 1
        listed = numbered_lists.render_list(call.hints, templates, first)
        hints = {"hints": numbered_lists.fence_list("hints", listed, options.fence, step, call.id)}
        return render(templates.questions, hints | _hint_fields(call, templates, options, step))

    for answer in generator.generate(_build_requests(calls, asked, options, step), step.done):
        texts, dropped = numbered_lists.parse_reply(answer, options.reply == "one")
        call = known[answer.id]
        items, missed = _match_hints(texts, call, templates, options.reply == "one")
        if missed:
            dropped[OFF_TOPIC] = missed
        yield GenerationReply(id=answer.id, items=tuple(items), dropped=dropped, raw=answer.error or answer.text)


def _match_hints(
    texts: Sequence[tuple[int, str]], call: GenerationCall, templates: Templates, whole: bool
) -> tuple[list[Instruction], int]:
    """The questions that begin as their hint says, and how many do not. Under a bullet it is the first hint that is
    left and says so; a ``whole`` reply may leave type and topic out where it speaks of the topic."""
    hints, out = dict(enumerate(call.hints, len(call.demonstrations) + 1)), list[Instruction]()
    for number, text in texts:
        said = numbered_lists.strip_number(text) if whole else text
        tried = [*hints] if whole or number < 0 else [number] if number in hints else []
        at = next((n for n in tried if _follows_hint(said, hints[n], templates, whole)), None)
        if at is None:
            continue
        hint = hints.pop(at)
        bare = _text_after_hint(said, hint, templates) or said
        out.append(hint.model_copy(update={"text": bare, "id": f"{call.id}.{at if not whole else number}"}))
    return out, len(texts) - len(out)


def _follows_hint(text: str, hint: Instruction, templates: Templates, whole: bool) -> bool:
    if text.lower().startswith(numbered_lists.render_instruction(hint, templates).lower()):
        return bool(_text_after_hint(text, hint, templates))
    return whole and f" {normalize_text(hint.topic)} " in f" {normalize_text(text)} "


def _text_after_hint(text: str, hint: Instruction, templates: Templates) -> str:
    """What stands after a hint's type and topic; empty where a text does not begin with them."""
    prefix = numbered_lists.render_instruction(hint, templates)
    return text[len(prefix) :].strip() if text.lower().startswith(prefix.lower()) else ""


def _hint_fields(call: GenerationCall, templates: Templates, options: SelfInstructSpec, step: Step) -> dict[str, str]:
    listed = numbered_lists.render_list(call.demonstrations, templates)
    return {"demonstrations": numbered_lists.fence_list("demonstrations", listed, options.fence, step, call.id)}


def _build_requests(
    calls: Sequence[GenerationCall], asked: Callable[[GenerationCall], str], options: SelfInstructSpec, step: Step
) -> list[Request]:
    sampling = Sampling(
        temperature=options.temperature,
        top_p=options.top_p if calls and calls[0].question_type else options.topics.top_p,
        max_tokens=options.max_tokens,
    )
    return [Request(id=c.id, messages=user_turn(asked(c)), sampling=sampling, seed=step.seed(c.id)) for c in calls]


def _clean_phrase(text: str) -> str:
    """A topic without a closing full stop or quotes, with a capital letter."""
    bare = text.splitlines()[0].strip(" \t.\"'*") if text.strip() else ""
    return bare[:1].upper() + bare[1:]
