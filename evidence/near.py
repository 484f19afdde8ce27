"""How often a varied prompt falls with its original, by language and kind, and which different ones fall together."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from charter.records.chat import user_prompt
from charter.similarity.prompt_clusters import cluster_prompts
from charter.similarity.spelling import has_unspaced_script
from charter.similarity.splits import jaccard, shingles, split_prompts

LOOKS = {"a": "а", "e": "е", "o": "о", "i": "і", "c": "с", "p": "р", "а": "a", "е": "e", "о": "o", "с": "c"}
LOOKS |= {
    "ي": "ی",
    "ك": "ک",
    "ه": "ہ",
    "口": "ロ",
    "力": "カ",
    "一": "ー",
    "二": "ニ",
    "エ": "工",
    "カ": "力",
    "ー": "一",
}
NEAR = 0.8
PAIRS, EACH = 200, 40
SETS = ("advbench", "harmbench", "dangerousqa", "xstest")
LEAK = 0.6


def near() -> dict[str, Any]:
    """200 planted pairs of each language, 40 of each kind: in one split, and near to one another for curation."""
    said = base()
    rows = [_language(name, texts) for name, texts in said.items()]
    different = [_different(name, said[name]) for name in said]
    return {"threshold": NEAR, "languages": rows, "different": different, "leaks": leaks(), "targets": []}


def leaks() -> dict[str, int]:
    """Red-team prompts of published sets on held-out that share 60 % of their runs of five characters with one to train
    on."""
    from charter.data.sources.source_prompts import SourcePrompts
    from charter.spec import SourceSpec

    data = Path(os.environ["CHARTER_TEST_DATA"])
    read = [SourcePrompts(SourceSpec(name=name, path=str(data / name))).prompts() for name in SETS]
    prompts = list({p.text: p for found in read for p in found}.values())
    parts = split_prompts(prompts, NEAR)
    runs = [_runs(p.text) for p in parts["train"]]
    found = sum(any(jaccard(_runs(p.text), own) >= LEAK for own in runs) for p in parts["heldout"])
    return {"prompts": len(prompts), "held-out": len(parts["heldout"]), "leaked": found}


def _runs(text: str) -> frozenset[str]:
    plain = text.lower()
    return frozenset(plain[n : n + 5] for n in range(max(1, len(plain) - 4)))


def base() -> dict[str, list[str]]:
    """The sentences by language."""
    out: dict[str, list[str]] = {}
    for line in (Path(__file__).parent / "planted.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            name = line[2:]
        else:
            out.setdefault(name, []).append(line)
    return out


def typo(text: str, _others: Sequence[str], chance: random.Random) -> str:
    """Two neighbouring characters that differ change places."""
    places = [n for n in range(1, len(text) - 1) if len({text[n], text[n + 1], " "}) == 3]
    n = chance.choice(places)
    return text[:n] + text[n + 1] + text[n] + text[n + 2 :]


def swap(text: str, _others: Sequence[str], chance: random.Random) -> str:
    """Two neighbouring words change places; two letters each in scripts without spaces."""
    words, space = _words(text)
    n = chance.randrange(len(words) - 1)
    words[n], words[n + 1] = words[n + 1], words[n]
    return space.join(words)


def synonym(text: str, others: Sequence[str], chance: random.Random) -> str:
    """A word gives way to another one of the language."""
    words, space = _words(text)
    words[chance.randrange(len(words))] = chance.choice(_words(chance.choice(others))[0])
    return space.join(words)


def look_alike(text: str, _others: Sequence[str], chance: random.Random) -> str:
    """A letter gives way to one that looks alike; where the language has none of these, two letters change places."""
    places = [n for n, letter in enumerate(text) if letter in LOOKS]
    if not places:
        return typo(text, _others, chance)
    n = chance.choice(places)
    return text[:n] + LOOKS[text[n]] + text[n + 1 :]


def invisible(text: str, _others: Sequence[str], chance: random.Random) -> str:
    """Characters without width stand within words."""
    for _ in range(3):
        n = chance.randrange(1, len(text))
        text = text[:n] + chance.choice("\u200b\u200d\u00ad\ufeff\u2060") + text[n:]
    return text


KINDS: tuple[Callable[[str, Sequence[str], random.Random], str], ...] = (typo, swap, synonym, look_alike, invisible)


def _words(text: str) -> tuple[list[str], str]:
    if not has_unspaced_script(text):
        return text.split(), " "
    return [text[n : n + 2] for n in range(0, len(text), 2)], ""


def _language(name: str, texts: Sequence[str]) -> dict[str, Any]:
    out: dict[str, Any] = {"language": name, "pairs": PAIRS, "parted": {}, "held apart": {}, "near for curation": {}}
    for kind in KINDS:
        chance = random.Random(f"{name} {kind.__name__}")
        pairs = [(text, kind(text, texts, chance)) for text in texts[:EACH]]
        prompts = [user_prompt(text, n) for n, pair in enumerate(pairs) for text in pair]
        told = clusters([text for pair in pairs for text in pair])
        split = {p.id: part for part, found in split_prompts(prompts, NEAR).items() for p in found}
        parted = sum(split[prompts[2 * n].id] != split[prompts[2 * n + 1].id] for n in range(len(pairs)))
        out["parted"][kind.__name__] = parted
        out["held apart"][kind.__name__] = sum(told[2 * n] != told[2 * n + 1] for n in range(len(pairs)))
        out["near for curation"][kind.__name__] = sum(jaccard(shingles(a), shingles(b)) >= NEAR for a, b in pairs)
    apart = sum(out["held apart"].values())
    wrong = _different(name, texts)["merged"]
    out |= {"recall": 1 - apart / PAIRS, "precision": (PAIRS - apart) / (PAIRS - apart + wrong)}
    return out


def _different(name: str, texts: Sequence[str]) -> dict[str, Any]:
    """Pairs of different prompts that fall into one cluster."""
    told = clusters(texts)
    merged = sum(one == other for one, other in combinations(told, 2))
    return {"language": name, "pairs": len(texts) * (len(texts) - 1) // 2, "merged": merged}


def clusters(texts: Sequence[str]) -> list[int]:
    """The number of the cluster of each text."""
    return cluster_prompts([user_prompt(text, n) for n, text in enumerate(texts)], NEAR)
