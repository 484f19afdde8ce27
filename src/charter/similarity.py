"""Near-duplicates: what counts as the same prompt, the split by cluster, and the guard around gate and held-out."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from charter.records.chat import Prompt
from charter.records.measurements import Split
from charter.records.record import digest

SPLIT_SALT = "charter-split-1"
"""Fixed, and independent of a run's seed: a prompt stays in its split for ever."""

SPLIT_SHARES: tuple[tuple[Split, float], ...] = (("train", 0.6), ("gate", 0.15), ("heldout", 0.25))
SHINGLE_WORDS = 3


def normalize_text(text: str) -> str:
    """Lower case, words only: what near-duplicates are compared by. Full-width letters, ligatures, and letters with
    their accents apart are those that they look like (NFKC, case folded)."""
    plain = text.lower() if text.isascii() else _nfkc(_nfkc(text).casefold())
    return " ".join(re.findall(r"\w+", plain))


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def shingles(text: str) -> frozenset[str]:
    """Word trigrams of the normalised text (the whole text where it is shorter)."""
    words = normalize_text(text).split()
    if len(words) <= SHINGLE_WORDS:
        return frozenset((" ".join(words),))
    return frozenset(" ".join(words[i : i + SHINGLE_WORDS]) for i in range(len(words) - SHINGLE_WORDS + 1))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Share of common shingles."""
    return len(a & b) / len(a | b) if a | b else 1.0


class NearDuplicateIndex:
    """Finds every text whose shingles reach ``threshold``, exactly: two such texts share one of their rarest shingles
    (prefix filtering; Bayardo, Ma and Srikant, WWW 2007), so few pairs are compared."""

    def __init__(self, texts: Mapping[str, frozenset[str]], threshold: float) -> None:
        self.texts, self._threshold = texts, threshold
        self._frequency = Counter(part for parts in texts.values() for part in parts)
        self._holders: dict[str, list[str]] = {}
        for text, parts in texts.items():
            for part in self._rarest(parts):
                self._holders.setdefault(part, []).append(text)

    def contains_near(self, text: str) -> bool:
        """Whether a text is near to any."""
        return normalize_text(text) in self.texts or bool(self.find_neighbours(shingles(text)))

    def find_neighbours(self, parts: frozenset[str]) -> list[str]:
        """The texts that are near to these shingles, sorted."""
        found = {text for part in self._rarest(parts) for text in self._holders.get(part, ())}
        return sorted(text for text in found if jaccard(parts, self.texts[text]) >= self._threshold)

    def _rarest(self, parts: frozenset[str]) -> list[str]:
        return rarest_shingles(parts, self._frequency, self._threshold)


def rarest_shingles(parts: Collection[str], frequency: Mapping[str, int], threshold: float) -> list[str]:
    """A text's rarest shingles, all but so many that every text near to it has one of these among its own rarest."""
    least = math.ceil(threshold * len(parts) - 1e-9)
    return sorted(parts, key=lambda part: (frequency[part], part))[: len(parts) - least + 1]


def find_near_duplicates(texts: Sequence[str], threshold: float) -> dict[int, int]:
    """Which texts to leave out, so that no two that stay are near: the place of each -> the place of the first text
    that stays and is near to it (Jaccard of word trigrams at or above ``threshold``, 0 to 1). The first of several
    stays. Exact, and near linear in the number of texts: by the same prefix filtering as ``Near``."""
    parts = [shingles(text) for text in texts]
    frequency = Counter(part for own in parts for part in own)
    holders: dict[str, list[int]] = {}
    found: dict[int, int] = {}
    for place, own in enumerate(parts):
        rare = rarest_shingles(own, frequency, threshold)
        others = sorted({other for part in rare for other in holders.get(part, ())})
        first = next((other for other in others if jaccard(own, parts[other]) >= threshold), None)
        if first is not None:
            found[place] = first
            continue
        for part in rare:
            holders.setdefault(part, []).append(place)
    return found


def conversation_prefixes(prompt: Prompt) -> list[str]:
    """What a model is asked on the way through a conversation: its text up to each user turn. The last is the whole;
    before it there is nothing where the prompt has one turn."""
    ends = [n for n, message in enumerate(prompt.messages, 1) if message.role == "user"]
    before = ["\n".join(m.content for m in prompt.messages[:end]) for end in ends if end < len(prompt.messages)]
    return [*before, prompt.text]


class LeakageFilter:
    """Knows protected prompts; ``clear`` keeps only prompts that are no near-duplicate of any of them, and neither hold
    one as the opening of a conversation nor open one: exact Jaccard on word trigrams, near linear in the number of
    prompts."""

    def __init__(self, protected: Sequence[Prompt], threshold: float) -> None:
        self._protected = tuple(protected)
        self._threshold = threshold
        self.identity = digest([threshold, SHINGLE_WORDS, sorted(normalize_text(p.text) for p in protected)])

    @cached_property
    def _prompt_index(self) -> NearDuplicateIndex:
        return NearDuplicateIndex({normalize_text(p.text): shingles(p.text) for p in self._protected}, self._threshold)

    @cached_property
    def _prefix_index(self) -> NearDuplicateIndex:
        texts = (text for p in self._protected for text in conversation_prefixes(p))
        return NearDuplicateIndex({normalize_text(text): shingles(text) for text in texts}, self._threshold)

    def is_protected(self, text: str) -> bool:
        """Whether a text is a near-duplicate of a protected prompt, or of the opening of one."""
        return self._prefix_index.contains_near(text)

    def remove_leaked(self, prompts: Iterable[Prompt]) -> list[Prompt]:
        """The prompts that are close to no protected one, in order."""
        return [
            p
            for p in prompts
            if not self.is_protected(p.text)
            and not any(map(self._prompt_index.contains_near, conversation_prefixes(p)[:-1]))
        ]


def split_prompts(prompts: Sequence[Prompt], threshold: float) -> dict[Split, list[Prompt]]:
    """Train, gate and held-out by near-duplicate cluster: all of a cluster falls into one split, by a salted hash. A
    conversation is in one cluster with whatever is asked on the way through it."""
    texts = {normalize_text(p.text): shingles(p.text) for p in prompts}
    index = NearDuplicateIndex(texts, threshold)
    linked = sorted({(normalize_text(p.text), text) for p in prompts for text in conversation_prefixes(p)})
    leader: dict[str, str] = {}
    for whole, text in linked:
        roots = {_root(leader, key) for key in (whole, *index.find_neighbours(shingles(text)))}
        leader.update(dict.fromkeys(roots, min(roots)))
    out: dict[Split, list[Prompt]] = {"train": [], "gate": [], "heldout": []}
    for prompt in prompts:
        out[_assign_split(_root(leader, normalize_text(prompt.text)))].append(prompt)
    return out


def split_gate_heldout(prompts: Sequence[Prompt], threshold: float) -> tuple[list[Prompt], list[Prompt]]:
    """Prompts that are only measured on, none trained on: the held-out ones are those of ``split_prompts``, so that
    what is held out among a spec's prompts is held out here; gate has all others. Both in order."""
    held = {p.id for p in split_prompts(prompts, threshold)["heldout"]}
    return [p for p in prompts if p.id not in held], [p for p in prompts if p.id in held]


def _root(leader: dict[str, str], key: str) -> str:
    while leader.get(key, key) != key:
        key = leader[key]
    return key


def _assign_split(key: str) -> Split:
    place = int(digest(f"{SPLIT_SALT}|{key}")[:12], 16) / 16**12
    for split, share in SPLIT_SHARES:
        if place < share:
            return split
        place -= share
    return "heldout"


MIN_WEIGHTED_TEXTS = 50
"""Texts from which their grouping may weigh words: a grouping of fewer can be wrong, and would confirm itself."""


def group_texts(texts: Sequence[str], before: Sequence[int], distance: float) -> list[int]:
    """A group number for each text: average linkage, groups apart by at least ``distance`` (cosine). ``before``: how
    the first of the texts were grouped when there were no others.

    A word weighs by how few of these earlier *groups* hold it, and words of more than half of them tell nothing: so a
    kind of text that comes again and again does not make its own words common. Each further text counts as a group,
    all of them together as at most a third of the known ones, once there are four. Before ``SETTLED`` texts are
    grouped, each counts for itself."""
    if len(texts) < 2:
        return [0] * len(texts)
    import numpy as np
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.preprocessing import normalize

    counts = CountVectorizer(binary=True, analyzer=lambda text: normalize_text(text).split() or ["-"]).fit_transform(
        texts
    )
    before = before if len(before) >= MIN_WEIGHTED_TEXTS else ()
    groups = [*before, *range(-1, len(before) - len(texts) - 1, -1)]
    size, known, further = Counter(groups), len(set(before)), len(texts) - len(before)
    single = min(1.0, known / 3 / further) if known > 3 and further else 1.0
    total = known + single * further
    held = counts.T @ np.array([single if group < 0 else 1 / size[group] for group in groups])
    weight = np.log((1 + total) / (1 + held)) + 1
    if total > 3:
        weight[held > total / 2] = 1e-6
    rows = normalize(counts.multiply(weight).tocsr())
    apart = 1.0 - (rows @ rows.T).toarray().clip(0.0, 1.0)
    linked = AgglomerativeClustering(
        n_clusters=None, distance_threshold=distance, metric="precomputed", linkage="average"
    ).fit_predict(apart)
    order = {label: number for number, label in enumerate(dict.fromkeys(int(label) for label in linked))}
    return [order[int(label)] for label in linked]


MAX_LSA_DIRECTIONS = 100
"""At most so many directions of latent semantic analysis tell regions apart."""


def find_regions(texts: Sequence[str], count: int, seed: int) -> tuple[list[int], dict[int, tuple[str, ...]]]:
    """A region number for each text, at most ``count`` of them, and the five words that tell each region best.

    TF-IDF, then latent semantic analysis with every direction scaled to the same variance, then k-means: unscaled, the
    many words of a shared form (a template, an attack) outweigh the one word that tells what is asked."""
    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD

    different = len(set(texts))
    if count < 2 or different < 4:
        return [0] * len(texts), {0: ()}
    rows, names, _ = _tfidf(texts)
    size = min(MAX_LSA_DIRECTIONS, rows.shape[1] - 1, different - 1)
    found = TruncatedSVD(size, random_state=seed).fit_transform(rows) if size > 1 else rows.toarray()
    spread = found.std(axis=0)
    found = found[:, spread > 1e-9] / spread[spread > 1e-9]
    labels = KMeans(min(count, different), n_init=3, random_state=seed).fit_predict(found)
    overall = np.asarray(rows.mean(axis=0)).ravel()
    terms = {}
    for label in sorted({int(n) for n in labels}):
        weight = np.asarray(rows[labels == label].mean(axis=0)).ravel() - overall
        terms[label] = tuple(str(names[i]) for i in np.argsort(-weight, kind="stable")[:5] if weight[i] > 0)
    return [int(label) for label in labels], terms


def find_nearest(texts: Sequence[str], among: Sequence[str]) -> list[tuple[int, float] | None]:
    """For each text the place of that one of ``among`` whose words are nearest, with their cosine (0 to 1); None where
    they have no word in common. TF-IDF: a word weighs by how few of ``among`` hold it."""
    if not texts or not among:
        return [None] * len(texts)
    rows, _, weights = _tfidf(among)
    alike = (weights.transform(texts) @ rows.T).toarray()
    best = alike.argmax(axis=1)
    return [(int(n), float(row[n])) if row[n] > 0 else None for n, row in zip(best, alike, strict=True)]


def rank(texts: Sequence[str], among: Sequence[str]) -> list[tuple[int, float]]:
    """The places of ``among``, those first whose words are nearest to the mean of ``texts``, each with its closeness
    (TF-IDF cosine, 0 to 1). Equally near ones keep their order. Empty where ``among`` holds no word."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    weights = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    try:
        rows = weights.fit_transform(among)
    except ValueError:  # no word
        return []
    closeness = rows @ weights.transform(texts).mean(axis=0).A1
    return [(n, float(closeness[n])) for n in sorted(range(len(among)), key=lambda n: (-float(closeness[n]), n))]


def _tfidf(texts: Sequence[str]) -> tuple[Any, Any, Any]:
    """Sparse TF-IDF rows [texts, words] of unit length (a text without any word is one word), the words, and what
    weighs further texts in the same way."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    weights = TfidfVectorizer(sublinear_tf=True, analyzer=lambda text: normalize_text(text).split() or ["-"])
    rows = weights.fit_transform(texts)
    return rows, weights.get_feature_names_out(), weights
