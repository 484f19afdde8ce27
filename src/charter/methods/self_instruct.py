"""Self-instruct with topic-guided red teaming: the first stage of SELF-ALIGN (Sun et al., NeurIPS 2023, arXiv
2305.03047), and a method by itself. Its prompts are a source for any other method.

Every departure from the paper is a named switch of ``Instructing``; docs/self_instruct.md has the faithful setting.

1. seeds, types: our own, fewer, worded anew (paper: 175 tasks of Self-Instruct, 20 questions).
2. from_seeds: two of five demonstrations at least are seeds, so that prompts do not drift (paper: any five).
3. rounds: what a call wrote is shown from the next round on, so that calls of one round can be made together and a
   kill changes nothing (paper: from the next call on).
4. topics.sift: questions pass the filters that all other prompts pass (paper: only one for each type and topic).
5. Whatever is shown, and whatever is kept, is close to no gate or held-out prompt (paper: not looked at).
"""

from __future__ import annotations

from collections.abc import Sequence

from charter.data.instructing.instruction_records import (
    FilteredInstruction,
    GenerationReply,
    Instruction,
    SelfInstructInputs,
    SelfInstructResult,
    Yield,
)
from charter.data.instructing.task_pool import TaskPool
from charter.ports import Engine
from charter.runs import Steps
from charter.stages.instruction_rounds import (
    clear_seeds,
    count_yield,
    drop_leaked,
    filter_instructions,
    plan_calls,
    to_prompts,
    write_instructions,
)
from charter.stages.topics import (
    balance_topics,
    filter_topics,
    plan_question_calls,
    plan_topic_calls,
    write_questions,
    write_topics,
)


def self_instruct(run: Steps, generator: Engine, given: SelfInstructInputs) -> SelfInstructResult:
    """Prompts that ``generator`` writes, from seeds and from its own; each name on the left is a file in ``run``."""
    options = given.options
    seeds = run.once("seeds", clear_seeds, given.seeds, given.guard)
    types = given.types if options.topics.rounds else ()
    stock = TaskPool(options.rouge_limit, select_kept(seeds), [kind.seed for kind in types])
    general: tuple[list[GenerationReply], list[FilteredInstruction]] = ([], [])
    for number in range(1, options.rounds + 1):
        calls = run.once(f"round{number}_calls", plan_calls, stock, number, options)
        written = run.map(f"round{number}_written", write_instructions, calls, generator, given.templates, options)
        sifted = run.once(f"round{number}_sifted", filter_instructions, written, stock, given.guard, options)
        stock.add(select_kept(sifted))
        general[0].extend(written)
        general[1].extend(sifted)
    questions, yields = run_topic_guided(run, generator, given, stock)
    prompts = run.once("prompts", to_prompts, [*stock.kept, *questions])
    size = len(stock.seeds)
    counted = [run.once("seeds_yield", count_yield, "seeds", (), seeds, size)]
    counted += [run.once("general_yield", count_yield, "general", *general, size)] if options.rounds else []
    return SelfInstructResult(tuple(prompts), (*counted, *yields))


def run_topic_guided(
    run: Steps, generator: Engine, given: SelfInstructInputs, stock: TaskPool
) -> tuple[list[Instruction], list[Yield]]:
    """Topic-guided red teaming: topics for each type in rounds, balanced, then a question about each."""
    options, texts, types = given.options, given.templates, given.types
    if not types or not options.topics.rounds:
        return [], []
    known, named = list[Instruction](), (list[GenerationReply](), list[FilteredInstruction]())
    for number in range(1, options.topics.rounds + 1):
        calls = run.once(f"topics{number}_calls", plan_topic_calls, types, known, number, options)
        written = run.map(f"topics{number}_written", write_topics, calls, generator, texts, options)
        sifted = run.once(f"topics{number}_sifted", filter_topics, written, types, known, options)
        known = [*known, *select_kept(sifted)]
        named[0].extend(written)
        named[1].extend(sifted)
    topics = run.once("topics", balance_topics, types, known, options)
    questions_calls = run.once("questions_calls", plan_question_calls, types, topics, options)
    questions_written = run.map("questions_written", write_questions, questions_calls, generator, texts, options)
    if options.topics.apply_filters:
        questions_sifted = run.once(
            "questions_sifted", filter_instructions, questions_written, stock, given.guard, options
        )
    else:
        questions_sifted = run.once("questions_sifted", drop_leaked, questions_written, types, given.guard)
    size = len(given.seeds)
    yields = [
        run.once("topics_yield", count_yield, "topics", *named, size),
        run.once("questions_yield", count_yield, "questions", questions_written, questions_sifted, size),
    ]
    return select_kept(questions_sifted), yields


def select_kept(sifted: Sequence[FilteredInstruction]) -> list[Instruction]:
    """What was kept."""
    return [one.instruction for one in sifted if not one.dropped]
