"""Findings grouped by what their texts say, half of each group hidden from the proposer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from charter.ports import Embedder
from charter.records.record import digest
from charter.records.verdicts import Cluster, Finding
from charter.similarity.vectors import FEWEST, group_vectors, standardize_vectors
from charter.spec import ClusterSpec


def cluster(findings: Sequence[Finding], options: ClusterSpec, embedder: Embedder | None = None) -> list[Cluster]:
    """Clusters, largest first. ``by: batch`` puts everything in one; with an ``embedder`` those of one meaning belong
    together, and else those of the same words. A finding is hidden by the hash of its id."""
    if not findings:
        return []
    if options.by == "batch":
        groups = [list(findings)]
    elif embedder is not None and len(findings) >= FEWEST:
        groups = _group_by_meaning(findings, embedder)
    else:
        groups = _group_by_text(findings, options.distance)
    clusters = [_to_cluster(group, options.hide) for group in groups]
    return sorted(clusters, key=lambda c: (-len(c.shown) - len(c.hidden), c.id))


def _group_by_meaning(findings: Sequence[Finding], embedder: Embedder) -> list[list[Finding]]:
    """Prompt and response count the same: attacks share the form of a prompt, refusals that of a response."""
    import numpy as np

    sides = ([f.exchange.prompt.text for f in findings], [f.exchange.response for f in findings])
    rows = np.hstack([standardize_vectors(embedder.embed(texts)) for texts in sides])
    return _collect(findings, group_vectors(rows / np.sqrt(2)))


def _collect(findings: Sequence[Finding], labels: Sequence[int]) -> list[list[Finding]]:
    groups: dict[int, list[Finding]] = {}
    for label, finding in zip(labels, findings, strict=True):
        groups.setdefault(int(label), []).append(finding)
    return list(groups.values())


def _group_by_text(findings: Sequence[Finding], distance: float) -> list[list[Finding]]:
    if len(findings) == 1:
        return [list(findings)]
    from sklearn.cluster import AgglomerativeClustering

    sides = [[f.exchange.response for f in findings], [f.exchange.prompt.text for f in findings]]
    labels = AgglomerativeClustering(
        n_clusters=None, distance_threshold=distance, metric="cosine", linkage="average"
    ).fit_predict(_text_features(sides))
    return _collect(findings, labels)


PROMPT_WEIGHT = 0.5
"""How much a failure's prompt counts beside its response: what a model did tells failures apart better than how it was
asked, since red-team prompts share forms (attack templates) across topics."""


def _text_features(sides: Sequence[Sequence[str]]) -> Any:
    """Rows of unit length [findings, words]: TF-IDF of the responses, and of the prompts at half weight. A row without
    any word gets a component of its own, since cosine needs a direction."""
    import numpy as np

    parts = [weight * _tfidf(texts) for weight, texts in zip((1.0, PROMPT_WEIGHT), sides, strict=True)]
    joined = np.hstack(parts)
    empty = (np.abs(joined).sum(axis=1) == 0).astype("float64")[:, None]
    rows = np.hstack([joined, empty])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _tfidf(texts: Sequence[str]) -> Any:
    """Dense TF-IDF rows without the words that more than half of the texts hold, or with them where no other is left;
    no column where there is no word."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    for most in (0.5, 1.0) if len(texts) > 3 else (1.0,):
        try:
            found = TfidfVectorizer(sublinear_tf=True, max_df=most, token_pattern=r"(?u)\b\w+\b").fit_transform(texts)
            return np.asarray(found.todense(), dtype="float64")
        except ValueError:
            continue
    return np.zeros((len(texts), 0))


def _to_cluster(group: list[Finding], hide: float) -> Cluster:
    ranked = sorted(group, key=lambda f: digest(f"hide|{f.id}"))
    hidden = ranked[: min(int(len(ranked) * hide), len(ranked) - 1)]
    names = {f.id for f in hidden}
    return Cluster(
        id=f"c-{digest(sorted(f.id for f in group))[:10]}",
        terms=_top_terms(group),
        shown=tuple(f for f in group if f.id not in names),
        hidden=tuple(f for f in group if f.id in names),
    )


def _top_terms(group: list[Finding]) -> tuple[str, ...]:
    """The five words that most of the group's texts hold, the longest first among equals."""
    counts: dict[str, int] = {}
    for finding in group:
        for word in {w for w in finding.text.lower().split() if w.isalpha() and len(w) > 3}:
            counts[word] = counts.get(word, 0) + 1
    return tuple(sorted(counts, key=lambda w: (-counts[w], -len(w), w))[:5])
