"""Near-duplicates: what counts as the same prompt, the split by cluster, and the guard around gate and held-out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property, partial
from itertools import groupby
from typing import Any

from charter.records.chat import Prompt
from charter.records.measurements import Split
from charter.records.record import digest
from charter.similarity import overlap
from charter.similarity.mark_sets import MarkSets, stack_marks, unique_marks
from charter.similarity.prompt_clusters import conversation_prefixes, find_clusters, may_be_reworded, tell_template
from charter.similarity.set_index import SetIndex
from charter.similarity.spelling import fold_lookalikes, normalize_text
from charter.similarity.wordings import (
    CHARACTERS,
    WordBatch,
    character_grams,
    cut_batches,
    leave_one_word_out,
    word_trigrams,
)

SPLIT_SALT = "charter-split-1"
"""Fixed, and independent of a run's seed: a prompt stays in its split for ever."""

SPLIT_SHARES: tuple[tuple[Split, float], ...] = (("train", 0.6), ("gate", 0.15), ("heldout", 0.25))
SHINGLE_WORDS = 3

TOGETHER = 1 << 17
"""So many texts are held against an index at once, so that memory stays bounded."""


def shingles(text: str) -> frozenset[str]:
    """Word trigrams of the text as it is compared (the whole text where it is shorter)."""
    words = fold_lookalikes(text).split()
    if len(words) <= SHINGLE_WORDS:
        return frozenset((" ".join(words),))
    return frozenset(" ".join(words[i : i + SHINGLE_WORDS]) for i in range(len(words) - SHINGLE_WORDS + 1))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Share of common shingles."""
    return len(a & b) / len(a | b) if a | b else 1.0


class NearDuplicateIndex:
    """Finds whether a text is near to any of ``texts``, exactly: its word trigrams reach ``threshold``, or it is
    another wording (``wordings``) of one that may be reworded, as its value says."""

    def __init__(self, texts: Collection[tuple[str, bool]], threshold: float) -> None:
        known = {normalize_text(text): False for text, _ in texts}
        known.update((normalize_text(text), True) for text, reworded in texts if reworded)
        self._texts = known.keys()
        loose = [text for text, reworded in known.items() if reworded]
        self._words = SetIndex(_stack(word_trigrams, known), threshold)
        self._characters = SetIndex(_stack(character_grams, loose), CHARACTERS)
        self._lessened = unique_marks(_stack(leave_one_word_out, loose).marks)

    def contains_near(self, text: str) -> bool:
        """Whether a text, which may be another wording, is near to any."""
        return self.find_near([(text, True)])[0]

    def find_near(self, texts: Sequence[tuple[str, bool]]) -> list[bool]:
        """Whether each text is near to any, as its value says whether it may be another wording of one. Many together
        take much less than one after the other."""
        return [
            is_near
            for start in range(0, len(texts), TOGETHER)
            for is_near in self._find_near(texts[start : start + TOGETHER])
        ]

    def _find_near(self, texts: Sequence[tuple[str, bool]]) -> list[bool]:
        import numpy as np

        plain = [normalize_text(text) for text, _ in texts]
        found = np.array([text in self._texts for text in plain], bool)
        reworded = np.array([reworded for _, reworded in texts], bool)
        for marks_of, may_be, compare in (
            (word_trigrams, True, partial(overlap.find_near, index=self._words)),
            (leave_one_word_out, reworded, self._share_lessened),
            (character_grams, reworded, partial(overlap.find_near, index=self._characters)),
        ):
            asked = np.flatnonzero(~found & may_be)
            found[asked] = compare(_stack(marks_of, (texts[int(n)][0] for n in asked)))
        return [bool(is_near) for is_near in found]

    def _share_lessened(self, sets: MarkSets) -> Any:
        """Whether each set holds one of the marks of texts that lack a word: booleans."""
        import numpy as np

        at = np.minimum(np.searchsorted(self._lessened, sets.marks), len(self._lessened) - 1)
        shared = self._lessened[at] == sets.marks if len(self._lessened) else at > 0
        return np.bincount(sets.owners[shared], minlength=len(sets.starts) - 1) > 0


def _stack(marks_of: Callable[[WordBatch], MarkSets], texts: Iterable[str]) -> MarkSets:
    """The marks of each text."""
    return stack_marks(map(marks_of, cut_batches(fold_lookalikes(text).split() for text in texts)))


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


class LeakageFilter:
    """Knows protected prompts; ``clear`` keeps only prompts that are no near-duplicate of any of them, and neither hold
    one as the opening of a conversation nor open one. What is near is what ``split_prompts`` puts into one cluster."""

    def __init__(self, protected: Sequence[Prompt], threshold: float) -> None:
        self._protected = tuple(protected)
        self._threshold = threshold
        told = [threshold, SHINGLE_WORDS, sorted(normalize_text(p.text) for p in protected)]
        loose = [CHARACTERS] if any(map(may_be_reworded, protected)) else []
        forms = sorted(normalize_text(p.text) for p in protected if "form" in p.meta)
        self.identity = digest([*told, *loose, *forms])

    @cached_property
    def _prompt_index(self) -> NearDuplicateIndex:
        return NearDuplicateIndex([(p.text, may_be_reworded(p)) for p in self._protected], self._threshold)

    @cached_property
    def _prefix_index(self) -> NearDuplicateIndex:
        return NearDuplicateIndex(
            [(text, may_be_reworded(p)) for p in self._protected for text in conversation_prefixes(p)], self._threshold
        )

    def is_protected(self, text: str) -> bool:
        """Whether a text is a near-duplicate of a protected prompt, or of the opening of one."""
        return self._prefix_index.contains_near(text)

    def remove_leaked(self, prompts: Iterable[Prompt]) -> list[Prompt]:
        """The prompts that are close to no protected one, in order."""
        asked = list(prompts)
        return [p for p, is_leaked in zip(asked, self.find_leaked(asked), strict=True) if not is_leaked]

    def find_leaked(self, prompts: Sequence[Prompt]) -> list[bool]:
        """Whether each prompt is close to a protected one. Many together take much less than one after the other."""
        found = self._prefix_index.find_near([(p.text, may_be_reworded(p)) for p in prompts])
        openings = [(n, text) for n, p in enumerate(prompts) if not found[n] for text in conversation_prefixes(p)[:-1]]
        if openings:
            near = self._prompt_index.find_near([(text, may_be_reworded(prompts[n])) for n, text in openings])
            for (n, _), is_near in zip(openings, near, strict=True):
                found[n] = found[n] or is_near
        return found


def split_prompts(prompts: Sequence[Prompt], threshold: float) -> dict[Split, list[Prompt]]:
    """Train, gate and held-out by near-duplicate cluster: all of a cluster falls into one split, by a salted hash.

    In one cluster are prompts whose word trigrams reach ``threshold``, a conversation and whatever is asked on the way
    through it, prompts that a set makes of one template (``template`` in what is said of them), and other wordings of a
    prompt (``wordings``) where it is from no world and of no form: a world's sentences, and what fills the gaps of a
    form, mean what one word of theirs means. Prompts of a form are marked, with the number of its texts, so that
    ``LeakageFilter`` compares them by the same rule."""
    splits, forms = find_splits(prompts, threshold)
    out: dict[Split, list[Prompt]] = {"train": [], "gate": [], "heldout": []}
    for prompt, split, size in zip(prompts, splits, forms, strict=True):
        marked = prompt.model_copy(update={"meta": {**prompt.meta, "form": str(size)}}) if size else prompt
        out[split].append(marked)
    return out


def find_splits(prompts: Sequence[Prompt], threshold: float) -> tuple[list[Split], Any]:
    """The split of each prompt, as ``split_prompts`` tells them; and how many texts its form has, 0 where it is of
    none. ``prompts`` are read one at a time, several times over, and none is held."""
    import numpy as np

    groups, forms = find_clusters(prompts, threshold)
    splits: list[Split] = ["heldout"] * len(groups)
    for _, members in groupby(np.argsort(groups, kind="stable"), key=groups.__getitem__):
        cluster = list(members)
        split = _assign_split(min(_name(prompts[n]) for n in cluster))
        for n in cluster:
            splits[n] = split
    return splits, forms


def _name(prompt: Prompt) -> str:
    """What the split of a prompt is told by, if it is the first of its cluster."""
    return tell_template(prompt) or normalize_text(prompt.text)


def split_gate_heldout(prompts: Sequence[Prompt], threshold: float) -> tuple[list[Prompt], list[Prompt]]:
    """Prompts that are only measured on, none trained on: the held-out ones are those of ``split_prompts``, so that
    what is held out among a spec's prompts is held out here; gate has all others. Both in order."""
    held = {p.id for p in split_prompts(prompts, threshold)["heldout"]}
    return [p for p in prompts if p.id not in held], [p for p in prompts if p.id in held]


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
    weights = _word_weights()
    try:
        rows = weights.fit_transform(among)
    except ValueError:  # no word
        return []
    closeness = rows @ weights.transform(texts).mean(axis=0).A1
    return [(n, float(closeness[n])) for n in sorted(range(len(among)), key=lambda n: (-float(closeness[n]), n))]


def find_top_ranked(texts: Sequence[str], among: Sequence[str]) -> list[int]:
    """For each text alone the place that ``rank`` puts first. Empty where ``among`` holds no word."""
    weights = _word_weights()
    try:
        rows = weights.fit_transform(among)
    except ValueError:  # no word
        return []
    closeness = (rows @ weights.transform(texts).T).toarray()
    return [int(n) for n in closeness.argmax(axis=0)]


def _word_weights() -> Any:
    """TF-IDF over the words as they are, in lower case."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")


def _tfidf(texts: Sequence[str]) -> tuple[Any, Any, Any]:
    """Sparse TF-IDF rows [texts, words] of unit length (a text without any word is one word), the words, and what
    weighs further texts in the same way."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    weights = TfidfVectorizer(sublinear_tf=True, analyzer=lambda text: normalize_text(text).split() or ["-"])
    rows = weights.fit_transform(texts)
    return rows, weights.get_feature_names_out(), weights
