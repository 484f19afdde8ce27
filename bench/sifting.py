"""``python -m bench.sifting [N]``: CPU seconds, on one core, of filtering N prompts (default 10,000) from a scripted
generator: in a whole run of self-instruct, and by the filters alone for N / 2 to 4 N prompts of several kinds. And what
the MinHash candidates miss of the near-duplicates that every pair compared finds. Writes bench/SIFTING.md."""

from __future__ import annotations

import platform
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.splits import COMMON, WORDS, repeated, unlike
from charter.data.instructing.instruction_records import Instruction, SelfInstructInputs
from charter.data.instructing.prompt_filters import DuplicatePool, PromptFilters, rouge_l
from charter.methods.self_instruct import self_instruct
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import Request, user_prompt
from charter.records.templates import Templates
from charter.runs import Run
from charter.similarity.spelling import normalize_text
from charter.similarity.splits import LeakageFilter
from charter.spec import SelfInstructSpec, TopicGuidedSpec

ROUNDS, ASKED, SMALL = 10, 10, 15
PAIRS = 2_000


def rewritten(count: int, source: random.Random) -> Iterator[str]:
    """Half are new texts of 6 to 40 words; half are an earlier one, up to half of whose words are changed."""
    texts: list[str] = []
    for text in unlike(count, source):
        words = text.split()
        if texts and source.random() < 0.5:
            words = source.choice(texts).split()
            for _ in range(source.randint(1, len(words) // 2)):
                words[source.randrange(len(words))] = source.choices(WORDS, cum_weights=COMMON)[0]
        texts.append(" ".join(words))
        yield texts[-1]


KINDS = {"unlike": unlike, "repeated": repeated, "rewritten": rewritten}


def sifted(texts: Sequence[str], guard: LeakageFilter) -> tuple[float, int]:
    """CPU seconds of all filters over texts, and how many pass."""
    begun, made = time.process_time(), PromptFilters(DuplicatePool(0.7), guard, SelfInstructSpec())
    kept = sum(not made.admit(text) for text in texts)
    return time.process_time() - begun, kept


def whole(count: int, guard: LeakageFilter, rounds: int = ROUNDS, asked: int = ASKED) -> tuple[float, int, int]:
    """CPU seconds of a whole run, prompts written and kept."""
    texts = list(rewritten(count, random.Random(2)))
    calls = max(1, count // (rounds * asked))

    def answer(request: Request) -> str:
        number, call = map(int, request.id.split("-"))
        first = ((number - 1) * calls + call) * asked
        return "\n".join(f"{n}. {text}" for n, text in enumerate(texts[first : first + asked], 6))

    options = SelfInstructSpec(rounds=rounds, calls=calls, topics=TopicGuidedSpec(rounds=0))
    seeds = [Instruction(id=f"s{n}", text=text) for n, text in enumerate(unlike(70, random.Random(5)))]
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder, Run.create(Path(folder) / "run", spec_text="x: 1\n") as run:
        given = SelfInstructInputs(seeds, (), guard, Templates(), options)
        found = self_instruct(run.steps("000"), ScriptedEngine(answer), given)
        run.finish()
    general = found.yields[-1]
    return time.process_time() - begun, general.written, general.kept


def missed(texts: Sequence[str]) -> tuple[int, int]:
    """Near-duplicates that every pair compared finds, and how many of these the candidates miss."""
    pool, kept, found, lost = DuplicatePool(0.7), list[list[str]](), 0, 0
    for text in texts:
        words = normalize_text(text).split()
        near, said = any(rouge_l(words, other) > 0.7 for other in kept), bool(pool.find_duplicate(text))
        found, lost = found + near, lost + (near and not said)
        if not said:
            pool.add(text)
            kept.append(words)
    return found, lost


def main(words: Sequence[str]) -> int:
    """Measures and writes the table."""
    count = int(words[0]) if words else 10_000
    guard = LeakageFilter([user_prompt(text) for text in unlike(1_000, random.Random(9))], 0.8)
    seconds, written, kept = whole(count, guard)
    small = []
    for size in (count // 10, count // 5, 2 * count // 5):
        took, made, _ = whole(size, guard, size // SMALL, SMALL)
        small.append(f"| {size // SMALL} | {made:,} | {took:.1f} | {1000 * took / made:.2f} |")
        print(small[-1], flush=True)
    rows = []
    for kind, make in KINDS.items():
        for size in (count // 2, count, 2 * count, 4 * count):
            took, passed = sifted(list(make(size, random.Random(1))), guard)
            rows.append(f"| {kind} | {size:,} | {took:.1f} | {1000 * took / size:.2f} | {passed / size:.0%} |")
            print(rows[-1], flush=True)
    found, lost = missed(list(rewritten(min(PAIRS, count), random.Random(4))))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    text = (
        "# What filtering generated prompts takes\n\n"
        f"`python -m bench.sifting`: one core ({platform.machine()}), CPU seconds, one measurement each; peak memory "
        f"{peak:.0f} MiB.\n\nA whole run of self-instruct with a scripted generator, {ROUNDS} rounds, {written:,} "
        f"prompts written and {kept:,} kept, every record on disk: **{seconds:.1f} s**.\n\nThe same in the paper's "
        f"setting, one call of {SMALL} a round:\n\n| rounds | prompts written | s | ms a prompt |\n"
        "|---:|---:|---:|---:|\n" + "\n".join(small) + "\n\nThe filters alone:\n\n"
        "| texts | n | s | ms a text | kept |\n|---|---:|---:|---:|---:|\n" + "\n".join(rows) + "\n\n"
        "`unlike`: 6 to 40 words with Zipf frequencies; `repeated`: clusters of 50 near-duplicates; `rewritten`: half "
        "new, half an earlier text with up to half of its words changed.\n\n"
        f"Of {found:,} near-duplicates (ROUGE-L F1 above 0.7) that every pair compared finds among "
        f"{min(PAIRS, count):,} rewritten texts, the MinHash candidates miss {lost}.\n"
    )
    (Path(__file__).parent / "SIFTING.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
