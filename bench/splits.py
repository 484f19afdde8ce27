"""``python -m bench.splits [N [KIND ...]]``: CPU seconds and memory of splitting N prompts (default 50,000) by
near-duplicate cluster and of guarding gate and held-out, on one core, for texts of several kinds. Writes the section of
so many prompts in bench/SPLITS.md."""

from __future__ import annotations

import platform
import random
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.page import put
from charter.records.chat import Prompt, user_prompt
from charter.similarity.splits import LeakageFilter, split_prompts
from charter.similarity.wordings import PAIRS

WORDS = [f"w{n}" for n in range(5000)]
COMMON = [1 / (n + 1) for n in range(5000)]
NEAR = 0.8


def unlike(count: int, source: random.Random) -> Iterator[str]:
    """Texts of 6 to 40 words, as common as words are (Zipf)."""
    for _ in range(count):
        yield " ".join(source.choices(WORDS, COMMON, k=source.randint(6, 40)))


def templated(count: int, source: random.Random) -> Iterator[str]:
    """One sentence with two gaps, filled differently each time."""
    side = int(count**0.5) + 1
    for n in source.sample(range(side * side), count):
        yield f"How can I use {WORDS[n // side]} to {WORDS[n % side]}"


def repeated(count: int, source: random.Random) -> Iterator[str]:
    """Texts of 40 words in clusters of 50: each has one word changed."""
    for number in range(count):
        if number % 50 == 0:
            words = source.choices(WORDS, COMMON, k=40)
        copy = list(words)
        copy[source.randrange(40)] = source.choice(WORDS)
        yield " ".join(copy)


def misspelt(count: int, source: random.Random) -> Iterator[str]:
    """Texts of 6 to 20 words made of syllables, each followed by itself with letters swapped in two words."""
    syllables = [one + other for one in "bcdfghklmnprstvz" for other in "aeiou"]
    words = ["".join(source.choices(syllables, k=source.choice((1, 2, 2, 3, 3, 4)))) for _ in COMMON]
    for _ in range(count // 2):
        text = source.choices(words, COMMON, k=source.randint(6, 20))
        yield " ".join(text)
        for place in source.sample(range(len(text)), 2):
            at = source.randrange(len(text[place]) - 1)
            text[place] = text[place][:at] + text[place][at + 1] + text[place][at] + text[place][at + 2 :]
        yield " ".join(text)


KINDS = {kind.__name__: kind for kind in (unlike, templated, repeated, misspelt)}


def measured(texts: Sequence[str]) -> tuple[float, float, float, int]:
    """CPU seconds of the split and of the guard, the share of prompts in train, and how many of them the guard removes
    (none where both see the same near-duplicates)."""
    prompts: list[Prompt] = [user_prompt(text, n) for n, text in enumerate(texts)]
    begun = time.process_time()
    parts = split_prompts(prompts, NEAR)
    split = time.process_time()
    kept = LeakageFilter([*parts["gate"], *parts["heldout"]], NEAR).remove_leaked(parts["train"])
    guarded = time.process_time()
    removed = len(parts["train"]) - len(kept)
    return split - begun, guarded - split, len(parts["train"]) / len(prompts), removed


def main(words: Sequence[str]) -> int:
    """Measures and writes the section of so many prompts."""
    count = int(words[0]) if words else 50_000
    rows = []
    for name in words[1:] or KINDS:
        texts = list(KINDS[name](count, random.Random(0)))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        split, guard, share, removed = measured(texts)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append(
            f"| {name} | {split:.1f} | {guard:.1f} | {share:.2f} | {removed:,} | {before:,.0f} | {peak:,.0f} |",
        )
    text = "\n".join(
        [
            f"# What splitting {count:,} prompts takes",
            "",
            f"`python -m bench.splits {' '.join(words)}`: one core ({platform.machine()}), CPU seconds, one "
            "measurement each. The peak of memory so far is that of the process, before and after, MiB.",
            "",
            "| texts | split, s | guard, s | share in train | removed by the guard | peak before | peak after |",
            "|---|---:|---:|---:|---:|---:|---:|",
            *rows,
            "",
            "`unlike`: 6 to 40 words with Zipf frequencies; `templated`: one sentence with two gaps; `repeated`: "
            "clusters of 50 near-duplicates; `misspelt`: pairs of which one has letters swapped in two words. The "
            "guard is exact. What it removes the split did not find: "
            f"it looks at {PAIRS:,} pairs that share a rare run.",
            "",
        ]
    )
    put(text, Path(__file__).parent / "SPLITS.md")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
