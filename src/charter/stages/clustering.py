"""Findings grouped by what their texts say, half of each group hidden from the proposer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from charter.judging.json_requests import JsonQuestion, JsonRequest, ask_json
from charter.judging.reply_schemas import THEME_SCHEMA
from charter.ports import Embedder, Engine
from charter.records.record import Step, digest
from charter.records.templates import Templates, fence_text, render_conversation
from charter.records.verdicts import Cluster, ClusterTheme, Finding
from charter.similarity.vectors import FEWEST, find_nearest_groups, group_vectors, standardize_vectors
from charter.spec import ClusterSpec

SHOWN_PROMPTS, PROMPT_CHARACTERS = 4, 300
"""Of each cluster so many prompts are shown where it is to be named, cut to so many characters: all clusters stand in
one request."""
NAME_CHARACTERS = 80
"""The most characters of a name, and of a reason."""


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
    rows = np.hstack([standardize_vectors(embedder.embed(texts)) for texts in sides]) / np.sqrt(2)
    if len(findings) > MAX_LINKED:
        return _collect(findings, _group_by_sample(findings, rows, group_vectors, np.inf))
    return _collect(findings, group_vectors(rows))


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
    if len(findings) > MAX_LINKED:
        rows = _sparse_features(sides)
        return _collect(findings, _group_by_sample(findings, rows, partial(_link_rows, distance=distance), distance))
    labels = AgglomerativeClustering(
        n_clusters=None, distance_threshold=distance, metric="cosine", linkage="average"
    ).fit_predict(_text_features(sides))
    return _collect(findings, labels)


MAX_LINKED = 2000
"""So many failures are compared each with each other at most, for that takes time and memory by their square."""


def _group_by_sample(
    findings: Sequence[Finding], rows: Any, link: Callable[[Any], Sequence[int]], distance: float
) -> list[int]:
    """The group of each of more than ``MAX_LINKED`` findings, by their rows of unit length: so many of them, by the
    hash of their ids, are grouped by ``link``. Each other one joins the group that it is nearest to on average, within
    the cosine ``distance``. Those that no group is near to are grouped in the same way."""
    import numpy as np

    left = np.array(sorted(range(len(findings)), key=lambda n: digest(f"sample|{findings[n].id}")))
    labels = np.full(len(findings), -1)
    while len(left):
        sample, left = left[:MAX_LINKED], left[MAX_LINKED:]
        labels[sample] = np.asarray(link(rows[sample])) + labels.max() + 1
        nearest, apart = find_nearest_groups(rows[left], rows[sample], labels[sample])
        joined = apart < distance
        labels[left[joined]] = nearest[joined]
        left = left[~joined]
    return [int(label) for label in labels]


def _link_rows(rows: Any, distance: float) -> Sequence[int]:
    """The group of each sparse row of unit length: average linkage, groups apart by at least ``distance`` (cosine)."""
    from sklearn.cluster import AgglomerativeClustering

    if rows.shape[0] == 1:
        return [0]
    apart = 1.0 - (rows @ rows.T).toarray().clip(0.0, 1.0)
    linking = AgglomerativeClustering(
        n_clusters=None, distance_threshold=distance, metric="precomputed", linkage="average"
    )
    found: Sequence[int] = linking.fit_predict(apart)
    return found


PROMPT_WEIGHT = 0.5
"""How much a failure's prompt counts beside its response: what a model did tells failures apart better than how it was
asked, since red-team prompts share forms (attack templates) across topics."""


def _text_features(sides: Sequence[Sequence[str]]) -> Any:
    """Rows of unit length [findings, words]: TF-IDF of the responses, and of the prompts at half weight. A row without
    any word gets a component of its own, since cosine needs a direction."""
    import numpy as np

    parts = [_tfidf(texts).toarray() for texts in sides]
    joined = np.hstack([parts[0], PROMPT_WEIGHT * parts[1]])
    empty = (np.abs(joined).sum(axis=1) == 0).astype("float64")[:, None]
    rows = np.hstack([joined, empty])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _sparse_features(sides: Sequence[Sequence[str]]) -> Any:
    """The same, sparse."""
    from scipy.sparse import csr_array, hstack
    from sklearn.preprocessing import normalize

    joined = hstack([_tfidf(sides[0]), PROMPT_WEIGHT * _tfidf(sides[1])])
    empty = (abs(joined).sum(axis=1) == 0).astype("float64")
    return normalize(csr_array(hstack([joined, csr_array(empty[:, None])])))


def _tfidf(texts: Sequence[str]) -> Any:
    """Sparse TF-IDF rows without the words that more than half of the texts hold, or with them where no other is left;
    no column where there is no word."""
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import TfidfVectorizer

    for most in (0.5, 1.0) if len(texts) > 3 else (1.0,):
        try:
            words = TfidfVectorizer(sublinear_tf=True, max_df=most, token_pattern=r"(?u)\b\w+\b")
            return csr_array(words.fit_transform(texts))
        except ValueError:
            continue
    return csr_array((len(texts), 0))


def name_clusters(
    clusters: Sequence[Cluster], proposer: Engine, templates: Templates, *, step: Step
) -> list[ClusterTheme]:
    """What the proposer says of the clusters, in one call that shows none of their hidden findings: a name for each,
    and the clusters that are one theme. Names with a number that no cluster has are all left out, for they may belong
    to others; so are themes with one, or with the same number twice. Nothing where there are no clusters."""
    if not clusters:
        return []
    shown = [[_cut_prompt(f) for f in c.shown[:SHOWN_PROMPTS]] for c in clusters]

    def list_clusters(fence: str) -> dict[str, str]:
        texts = ["\n".join(fence_text("request", text, fence) for text in group) for group in shown]
        return {"clusters": "\n\n".join(f"Group {number}:\n{text}" for number, text in enumerate(texts, 1))}

    question = JsonQuestion("themes", [text for group in shown for text in group], list_clusters)
    form = JsonRequest(templates.themes, THEME_SCHEMA, max_tokens=2048)
    ((_, reply),) = ask_json(proposer, [question], form, step=step)
    names, themes = _read_names(reply, len(clusters)), _read_themes(reply, len(clusters))
    alone = [([n], {"name": names.get(n, "")}) for n in range(1, len(clusters) + 1)]
    joined = {n for numbers, _ in themes for n in numbers}
    found = [*themes, *((numbers, entry) for numbers, entry in alone if numbers[0] not in joined)]
    return [
        ClusterTheme(
            id=clusters[numbers[0] - 1].id,
            clusters=tuple(clusters[n - 1].id for n in numbers),
            name=_read_line(entry, "name"),
            why=_read_line(entry, "why"),
        )
        for numbers, entry in sorted(found, key=lambda pair: pair[0][0])
    ]


def join_clusters(clusters: Sequence[Cluster], themes: Sequence[ClusterTheme]) -> list[Cluster]:
    """The clusters with their names, largest first; those of one theme are one. What was hidden stays hidden."""
    known = {c.id: c for c in clusters}
    made = []
    for theme in themes:
        members = [known[id] for id in theme.clusters]
        if len(members) == 1:
            made.append(members[0].model_copy(update={"name": theme.name}))
            continue
        shown, hidden = ([f for c in members for f in getattr(c, side)] for side in ("shown", "hidden"))
        id = f"c-{digest(sorted(f.id for f in (*shown, *hidden)))[:10]}"
        terms = _top_terms([*shown, *hidden])
        made.append(Cluster(id=id, terms=terms, shown=tuple(shown), hidden=tuple(hidden), name=theme.name))
    return sorted(made, key=lambda c: (-len(c.shown) - len(c.hidden), c.id))


def _cut_prompt(finding: Finding) -> str:
    return render_conversation(finding.exchange.prompt)[:PROMPT_CHARACTERS]


def _read_entries(reply: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = reply.get(key)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _read_line(entry: Mapping[str, Any], key: str) -> str:
    """A text of a reply on one line, cut where it is long; empty where it is something else."""
    said = entry.get(key)
    return " ".join(said.split())[:NAME_CHARACTERS] if isinstance(said, str) else ""


def _read_names(reply: Mapping[str, Any], count: int) -> dict[int, str]:
    """The name of each number; none where any number is off the menu."""
    entries = _read_entries(reply, "names")
    known = all(type(entry.get("number")) is int and 1 <= entry["number"] <= count for entry in entries)
    return {entry["number"]: _read_line(entry, "name") for entry in entries} if known else {}


def _read_themes(reply: Mapping[str, Any], count: int) -> list[tuple[list[int], dict[str, Any]]]:
    """The groups of two clusters or more that are one theme; none where any number is off the menu or stands twice."""
    found = [(_read_numbers(entry), entry) for entry in _read_entries(reply, "themes")]
    listed = [n for numbers, _ in found for n in numbers]
    known = all(type(n) is int and 1 <= n <= count for n in listed)
    if not known or len(set(listed)) < len(listed):
        return []
    return [(sorted(numbers), entry) for numbers, entry in found if len(numbers) > 1]


def _read_numbers(entry: Mapping[str, Any]) -> list[Any]:
    """The numbers of a theme as they were given; one off the menu where they are no list."""
    numbers = entry.get("numbers")
    return numbers if isinstance(numbers, list) else [None]


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
