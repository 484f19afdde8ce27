"""Self-instruct: a model is shown requests, writes further ones, and what passes the filters is shown in its turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from charter.instructing import lists
from charter.instructing.filters import GUARDED, TWICE, Filters, Pool, distinct
from charter.instructing.records import Call, Instruction, QuestionType, Sifted, Written, Yield
from charter.instructing.stock import Stock
from charter.nouns import Prompt, Request, Sampling, Step, user_prompt
from charter.ports import Engine
from charter.similarity import Guard, normal
from charter.spec import Instructing
from charter.templates import Templates, chat, render


def cleared(seeds: Sequence[Instruction], guard: Guard) -> list[Sifted]:
    """The seeds, each text once, less those close to a gate or held-out prompt: what is shown could be written
    again."""
    once = {seed.text: seed for seed in seeds}.values()
    return [Sifted(id=s.id, instruction=s, dropped=GUARDED if guard.close_to(s.text) else "") for s in once]


def calls(stock: Stock, number: int, options: Instructing, *, step: Step) -> list[Call]:
    """The calls of a round. Each draws its own demonstrations: some seeds, and others of all that there is so far."""
    ids = [f"{number}-{call:05d}" for call in range(options.calls)]
    return [Call(id=id, shown=_drawn(stock.seeds, stock.kept, options, step, id)) for id in ids]


def _drawn(
    seeds: Sequence[Instruction], kept: Sequence[Instruction], options: Instructing, step: Step, id: str
) -> tuple[Instruction, ...]:
    draw = step.random(id)
    first = draw.sample(range(len(seeds)), min(options.from_seeds, options.shown, len(seeds)))
    rest = [one for place, one in enumerate(seeds) if place not in first]
    total = min(options.shown - len(first), len(rest) + len(kept))
    others = draw.sample(range(len(rest) + len(kept)), total)
    found = [seeds[n] for n in first] + [rest[n] if n < len(rest) else kept[n - len(rest)] for n in others]
    draw.shuffle(found)
    return tuple(found)


def write(
    calls: Sequence[Call], generator: Engine, templates: Templates, options: Instructing, *, step: Step
) -> Iterator[Written]:
    """What the generator writes in each call."""
    sampling = Sampling(temperature=options.temperature, top_p=options.top_p, max_tokens=options.max_tokens)
    requests = []
    for call in calls:
        listed = lists.shown(call.shown, templates)
        fields = {
            "demonstrations": lists.block("demonstrations", listed, options.fence, step, call.id),
            "count": str(options.asked),
            "next": str(len(call.shown) + 1),
        }
        messages = chat(render(templates.instruct, fields))
        requests.append(Request(id=call.id, messages=messages, sampling=sampling, seed=step.seed(call.id)))
    for answer in generator.generate(requests, step.done):
        texts, dropped = lists.replied(answer, options.reply == "one")
        items = [Instruction(id=f"{answer.id}.{number}", text=text) for number, text in texts]
        yield Written(id=answer.id, items=tuple(items), dropped=dropped, raw=answer.error or answer.text)


def sift(written: Sequence[Written], stock: Stock, guard: Guard, options: Instructing) -> list[Sifted]:
    """Every item after all filters, in order: each is held against what there was before, and the items that
    passed."""
    filters = Filters(Pool(options.near, before=stock.pool), guard, options)
    items = (item for reply in written for item in reply.items)
    return [Sifted(id=item.id, instruction=item, dropped=filters.passed(item.text)) for item in items]


def guarded(written: Sequence[Written], types: Sequence[QuestionType], guard: Guard) -> list[Sifted]:
    """Every item after the guard alone, less the seed questions again."""
    known, out = {normal(kind.question) for kind in types}, []
    for item in (item for reply in written for item in reply.items):
        reason = TWICE if normal(item.text) in known else GUARDED if guard.close_to(item.text) else ""
        out.append(Sifted(id=item.id, instruction=item, dropped=reason))
    return out


def prompts(kept: Sequence[Instruction]) -> list[Prompt]:
    """What was kept, each text once, as prompts; type and topic are told beside them for reports."""
    out: dict[str, Prompt] = {}
    for one in kept:
        said = {"category": one.type, "topic": one.topic} if one.topic else {}
        prompt = user_prompt(one.text, source="self-instruct").model_copy(update={"meta": said})
        out.setdefault(prompt.id, prompt)
    return list(out.values())


def count(name: str, written: Sequence[Written], sifted: Sequence[Sifted], seeds: int) -> Yield:
    """What a part brought; ``seeds``: how many texts its variety is taken over."""
    dropped = Counter(one.dropped for one in sifted if one.dropped)
    lost = Counter[str]()
    for reply in written:
        lost.update(reply.dropped)
    kept = [one.instruction for one in sifted if not one.dropped]
    return Yield(
        id=name,
        calls=len(written),
        written=len(sifted) + lost.total() - lost[lists.FAILED] - lost[lists.UNREAD],
        kept=len(kept),
        dropped=dict(sorted((dropped + lost).items())),
        distinct={str(n): round(distinct([one.text for one in kept[:seeds]], n), 4) for n in (1, 2, 3)},
        by_type=dict(sorted(Counter(one.type for one in kept if one.type).items())),
    )
