"""Self-instruct: a model is shown requests, writes further ones, and what passes the filters is shown in its turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from charter.data.instructing import numbered_lists
from charter.data.instructing.instruction_records import (
    FilteredInstruction,
    GenerationCall,
    GenerationReply,
    Instruction,
    QuestionType,
    Yield,
)
from charter.data.instructing.prompt_filters import EXACT_DUPLICATE, LEAKED, DuplicatePool, PromptFilters, distinct_n
from charter.data.instructing.task_pool import TaskPool
from charter.ports import Engine
from charter.records.chat import Prompt, Request, Sampling, user_prompt
from charter.records.record import Step
from charter.records.templates import Templates, render, user_turn
from charter.similarity.spelling import normalize_text
from charter.similarity.splits import LeakageFilter
from charter.spec import SelfInstructSpec


def clear_seeds(seeds: Sequence[Instruction], guard: LeakageFilter) -> list[FilteredInstruction]:
    """The seeds, each text once, less those close to a gate or held-out prompt: what is shown could be written
    again."""
    once = {seed.text: seed for seed in seeds}.values()
    return [
        FilteredInstruction(id=s.id, instruction=s, dropped=LEAKED if guard.is_protected(s.text) else "") for s in once
    ]


def plan_calls(stock: TaskPool, number: int, options: SelfInstructSpec, *, step: Step) -> list[GenerationCall]:
    """The calls of a round. Each draws its own demonstrations: some seeds, and others of all that there is so far."""
    ids = [f"{number}-{call:05d}" for call in range(options.calls)]
    return [
        GenerationCall(id=id, demonstrations=_draw_demonstrations(stock.seeds, stock.kept, options, step, id))
        for id in ids
    ]


def _draw_demonstrations(
    seeds: Sequence[Instruction], kept: Sequence[Instruction], options: SelfInstructSpec, step: Step, id: str
) -> tuple[Instruction, ...]:
    draw = step.random(id)
    first = draw.sample(range(len(seeds)), min(options.min_seeds, options.shown, len(seeds)))
    rest = [one for place, one in enumerate(seeds) if place not in first]
    total = min(options.shown - len(first), len(rest) + len(kept))
    others = draw.sample(range(len(rest) + len(kept)), total)
    found = [seeds[n] for n in first] + [rest[n] if n < len(rest) else kept[n - len(rest)] for n in others]
    draw.shuffle(found)
    return tuple(found)


def write_instructions(
    calls: Sequence[GenerationCall], generator: Engine, templates: Templates, options: SelfInstructSpec, *, step: Step
) -> Iterator[GenerationReply]:
    """What the generator writes in each call."""
    sampling = Sampling(temperature=options.temperature, top_p=options.top_p, max_tokens=options.max_tokens)
    requests = []
    for call in calls:
        listed = numbered_lists.render_list(call.demonstrations, templates)
        fields = {
            "demonstrations": numbered_lists.fence_list("demonstrations", listed, options.fence, step, call.id),
            "count": str(options.asked),
            "next": str(len(call.demonstrations) + 1),
        }
        messages = user_turn(render(templates.instruct, fields))
        requests.append(Request(id=call.id, messages=messages, sampling=sampling, seed=step.seed(call.id)))
    for answer in generator.generate(requests, step.done):
        texts, dropped = numbered_lists.parse_reply(answer, options.reply == "one")
        items = [Instruction(id=f"{answer.id}.{number}", text=text) for number, text in texts]
        yield GenerationReply(id=answer.id, items=tuple(items), dropped=dropped, raw=answer.error or answer.text)


def filter_instructions(
    written: Sequence[GenerationReply], stock: TaskPool, guard: LeakageFilter, options: SelfInstructSpec
) -> list[FilteredInstruction]:
    """Every item after all filters, in order: each is held against what there was before, and the items that
    passed."""
    filters = PromptFilters(DuplicatePool(options.rouge_limit, before=stock.duplicate_pool), guard, options)
    items = (item for reply in written for item in reply.items)
    return [FilteredInstruction(id=item.id, instruction=item, dropped=filters.admit(item.text)) for item in items]


def drop_leaked(
    written: Sequence[GenerationReply], types: Sequence[QuestionType], guard: LeakageFilter
) -> list[FilteredInstruction]:
    """Every item after the guard alone, less the seed questions again."""
    known, out = {normalize_text(kind.question) for kind in types}, []
    for item in (item for reply in written for item in reply.items):
        reason = (
            EXACT_DUPLICATE if normalize_text(item.text) in known else LEAKED if guard.is_protected(item.text) else ""
        )
        out.append(FilteredInstruction(id=item.id, instruction=item, dropped=reason))
    return out


def to_prompts(kept: Sequence[Instruction]) -> list[Prompt]:
    """What was kept, each text once, as prompts; type and topic are told beside them for reports."""
    out: dict[str, Prompt] = {}
    for one in kept:
        said = {"category": one.type, "topic": one.topic} if one.topic else {}
        prompt = user_prompt(one.text, source="self-instruct").model_copy(update={"meta": said})
        out.setdefault(prompt.id, prompt)
    return list(out.values())


def count_yield(
    name: str, written: Sequence[GenerationReply], sifted: Sequence[FilteredInstruction], seeds: int
) -> Yield:
    """What a part brought; ``seeds``: how many texts its variety is taken over."""
    dropped = Counter(one.dropped for one in sifted if one.dropped)
    lost = Counter[str]()
    for reply in written:
        lost.update(reply.dropped)
    kept = [one.instruction for one in sifted if not one.dropped]
    return Yield(
        id=name,
        calls=len(written),
        written=len(sifted) + lost.total() - lost[numbered_lists.NO_ANSWER] - lost[numbered_lists.NO_LIST],
        kept=len(kept),
        dropped=dict(sorted((dropped + lost).items())),
        distinct_n={str(n): round(distinct_n([one.text for one in kept[:seeds]], n), 4) for n in (1, 2, 3)},
        by_type=dict(sorted(Counter(one.type for one in kept if one.type).items())),
    )
