"""``python -m bench.splits [N [KIND ...]]``: CPU seconds and memory of splitting N prompts (default 50,000) by
near-duplicate cluster and of guarding gate and held-out, on one core, for texts of several kinds. More than a million
prompts lie in a file and are made whenever they are asked for; they are split alone. Writes the section of so many
prompts in bench/SPLITS.md."""

from __future__ import annotations

import mmap
import platform
import random
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeVar

from bench.page import put
from bench.records import MadePrompts
from bench.speed_runs import read_status
from charter.records.chat import user_prompt
from charter.similarity.splits import LeakageFilter, find_splits, split_prompts
from charter.similarity.wordings import PAIRS

WORDS = [f"w{n}" for n in range(5000)]
COMMON = list(accumulate(1 / (n + 1) for n in range(5000)))
"""How common each word is, with all before it."""
NEAR = 0.8
MOST_HELD = 1_000_000
"""So many prompts are held as objects; more lie in a file."""
Made = TypeVar("Made")


def unlike(count: int, source: random.Random) -> Iterator[str]:
    """Texts of 6 to 40 words, as common as words are (Zipf)."""
    for _ in range(count):
        yield " ".join(source.choices(WORDS, cum_weights=COMMON, k=source.randint(6, 40)))


def templated(count: int, source: random.Random) -> Iterator[str]:
    """One sentence with two gaps, filled differently each time."""
    side = int(count**0.5) + 1
    for n in source.sample(range(side * side), count):
        yield f"How can I use {WORDS[n // side]} to {WORDS[n % side]}"


def repeated(count: int, source: random.Random) -> Iterator[str]:
    """Texts of 40 words in clusters of 50: each has one word changed."""
    for number in range(count):
        if number % 50 == 0:
            words = source.choices(WORDS, cum_weights=COMMON, k=40)
        copy = list(words)
        copy[source.randrange(40)] = source.choice(WORDS)
        yield " ".join(copy)


def misspelt(count: int, source: random.Random) -> Iterator[str]:
    """Texts of 6 to 20 words made of syllables, each followed by itself with letters swapped in two words."""
    syllables = [one + other for one in "bcdfghklmnprstvz" for other in "aeiou"]
    words = ["".join(source.choices(syllables, k=source.choice((1, 2, 2, 3, 3, 4)))) for _ in COMMON]
    for _ in range(count // 2):
        text = source.choices(words, cum_weights=COMMON, k=source.randint(6, 20))
        yield " ".join(text)
        for place in source.sample(range(len(text)), 2):
            at = source.randrange(len(text[place]) - 1)
            text[place] = text[place][:at] + text[place][at + 1] + text[place][at] + text[place][at + 2 :]
        yield " ".join(text)


KINDS = {kind.__name__: kind for kind in (unlike, templated, repeated, misspelt)}


def file_prompts(texts: Iterable[str]) -> MadePrompts:
    """Prompts whose texts lie in a file, each made when it is asked for."""
    ends = array("q", [0])
    with tempfile.TemporaryFile() as file:
        for text in texts:
            file.write(text.encode())
            ends.append(file.tell())
        file.flush()
        held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return MadePrompts(len(ends) - 1, lambda place: user_prompt(held[ends[place] : ends[place + 1]].decode(), place))


class Cost(NamedTuple):
    """What something took: CPU seconds, and MiB of memory beyond what was held before. Memory is the process's own:
    files that it reads are not in it."""

    seconds: float
    memory: float


def measure(make: Callable[[], Made]) -> tuple[Made, Cost]:
    """What a call gives, and what it took."""
    before, clock = read_status("RssAnon"), time.process_time()
    peak, ended = [before], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            peak.append(max(peak.pop(), read_status("RssAnon")))

    watching = threading.Thread(target=watch)
    watching.start()
    made = make()
    ended.set()
    watching.join()
    return made, Cost(time.process_time() - clock, (peak[0] - before) / 1024)


def measure_kind(name: str, count: int) -> str:
    """The row of one kind of texts: what the prompts take, the split, and the guard; the share of prompts in train, and
    how many of them the guard removes (none where both see the same near-duplicates)."""
    split_prompts([user_prompt("what loads the libraries", 0), user_prompt("and another", 1)], NEAR)
    texts = KINDS[name](count, random.Random(0))
    if count > MOST_HELD:
        filed, made = measure(lambda: file_prompts(texts))
        (splits, _), split = measure(lambda: find_splits(filed, NEAR))
        share, guarded = splits.count("train") / count, "| | |"
    else:
        held, made = measure(lambda: [user_prompt(text, n) for n, text in enumerate(texts)])
        parts, split = measure(lambda: split_prompts(held, NEAR))
        kept, guard = measure(
            lambda: LeakageFilter([*parts["gate"], *parts["heldout"]], NEAR).remove_leaked(parts["train"])
        )
        share = len(parts["train"]) / count
        guarded = f"| {guard.seconds:.1f} | {guard.memory:,.0f} | {len(parts['train']) - len(kept):,}"
    return f"| {name} | {made.memory:,.0f} | {split.seconds:.1f} | {split.memory:,.0f} | {share:.2f} {guarded} |"


def main(words: Sequence[str]) -> int:
    """Measures and writes the section of so many prompts."""
    count = int(words[0]) if words else 50_000
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # each kind with memory of its own
        rows = pool.starmap(measure_kind, [(name, count) for name in words[1:] or KINDS], chunksize=1)
    text = "\n".join(
        [
            f"# What splitting {count:,} prompts takes",
            "",
            f"`python -m bench.splits {' '.join(words)}`: one core ({platform.machine()}), CPU seconds, one "
            "measurement each. Memory is the most beyond what was held before, MiB: the process's own, without the "
            "files that it reads.",
            "",
            "| texts | prompts, MiB | split, s | split, MiB | share in train | guard, s | guard, MiB | removed |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
            *rows,
            "",
            "`unlike`: 6 to 40 words with Zipf frequencies; `templated`: one sentence with two gaps; `repeated`: "
            "clusters of 50 near-duplicates; `misspelt`: pairs of which one has letters swapped in two words. The "
            "guard is exact. What it removed the split did not find: "
            f"it looks at {PAIRS:,} pairs that share a rare run.",
            "",
        ]
    )
    put(text, Path(__file__).parent / "SPLITS.md")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
