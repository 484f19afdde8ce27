"""Texts compared as vectors: groups of one meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from charter.ports import Embedder
from charter.similarity.splits import rank

FEWEST = 4
"""Of fewer texts than these no groups are told apart by vectors."""
MOST_PLACED = 1000
"""So many texts are placed by a model where the nearest are looked for: of a small model, a minute of a CPU."""
MOST_SHARE = 2.0
"""At most so many times the root of the number of texts are groups: a rule is for several failures, not for one."""


def standardize_vectors(vectors: Sequence[Sequence[float]]) -> Any:
    """Rows of unit length [texts, numbers], each number less its mean and divided by its spread over the texts. A few
    numbers of a language model's states are large for every text, and would drown the others (Timkey and van
    Schijndel, arXiv 2109.04404)."""
    import numpy as np

    rows = np.asarray(vectors, dtype="float64")
    rows, spread = rows - rows.mean(axis=0), rows.std(axis=0)
    rows = np.divide(rows, spread, out=np.zeros_like(rows), where=spread > 1e-9)
    sizes = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, sizes, out=np.zeros_like(rows), where=sizes > 1e-9)


def compare_meanings(embedder: Embedder, texts: Sequence[str], among: Sequence[str]) -> Any:
    """How near each of ``texts`` is to each of ``among`` by meaning: cosines [texts, among] of standardized vectors, so
    that what all of them share counts for nothing, and two that have nothing in common have about 0. Raises
    EngineError."""
    rows = standardize_vectors(embedder.embed([*texts, *among]))
    return rows[: len(texts)] @ rows[len(texts) :].T


def shortlist(texts: Sequence[str], among: Sequence[str]) -> list[int]:
    """The places of ``among`` that are worth being placed by meaning, in order: all, or of more than ``MOST_PLACED``
    those whose words are nearest to ``texts``."""
    if len(among) <= MOST_PLACED:
        return list(range(len(among)))
    return sorted([place for place, _ in rank(texts, among)][:MOST_PLACED])


def most_groups(texts: int) -> int:
    """Groups that so many texts are placed in at most; few texts may stand for themselves."""
    return texts if texts < FEWEST else min(texts - 1, int(MOST_SHARE * texts**0.5))


def group_vectors(rows: Any) -> list[int]:
    """The group of each row [texts, numbers] of unit length: average linkage by cosine, in the number of groups whose
    mean silhouette is highest (Rousseeuw 1987), from 2 to ``most_groups``. Rows that are all alike are one group."""
    import numpy as np
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform
    from sklearn.metrics import silhouette_score

    apart = np.clip(1 - rows @ rows.T, 0, 2)
    np.fill_diagonal(apart, 0)
    if len(rows) < FEWEST or apart.max() < 1e-6:
        return [0] * len(rows)
    tree = linkage(squareform(apart, checks=False), "average")
    best, chosen = -2.0, np.zeros(len(rows), int)
    for count in range(2, most_groups(len(rows)) + 1):
        labels = fcluster(tree, count, "maxclust")
        if 1 < len(set(labels)) < len(rows):
            score = float(silhouette_score(apart, labels, metric="precomputed"))
            if score > best + 1e-9:
                best, chosen = score, labels
    return [int(label) for label in chosen]


TOGETHER = 2048
"""So many rows are held against all groups at once, so that memory stays bounded."""


def find_nearest_groups(rows: Any, known: Any, labels: Any) -> tuple[Any, Any]:
    """For each row of unit length, dense or sparse, the label of the group of ``known`` rows that it is nearest to on
    average, and its mean distance from the members of that group (cosine, 0 to 2)."""
    import numpy as np
    from scipy.sparse import csr_array

    names, places = np.unique(labels, return_inverse=True)
    shares = csr_array((1 / np.bincount(places)[places], (places, np.arange(len(places)))), (len(names), len(places)))
    centres = (shares @ known).T
    nearest, apart = np.zeros(rows.shape[0], int), np.zeros(rows.shape[0])
    for start in range(0, rows.shape[0], TOGETHER):
        alike = rows[start : start + TOGETHER] @ centres
        alike = alike if isinstance(alike, np.ndarray) else alike.toarray()
        nearest[start : start + TOGETHER] = names[alike.argmax(axis=1)]
        apart[start : start + TOGETHER] = 1 - alike.max(axis=1)
    return nearest, apart
