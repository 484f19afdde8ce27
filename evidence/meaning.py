"""Failures put together by meaning and by words, against published topics: HarmfulQA's 10 and HarmBench's categories.

``CHARTER_MODELS`` names a folder of model folders; each model in it is tried as an embedder.
"""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charter.models.embedders.hidden_states import HiddenStateEmbedder
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.weights import resolve_model
from charter.ports import Embedder
from charter.records.chat import Exchange, Sampling, user_prompt
from charter.records.verdicts import Finding, Verdict
from charter.similarity.vectors import group_vectors, standardize_vectors
from charter.spec import ClusterSpec
from charter.stages.clustering import cluster

SIZES, DRAWS = (48, 200), 5
"""Prompts of a draw: as many as the loop finds at once, and many; and how many draws."""


def meaning() -> dict[str, Any]:
    """Clusters of prompts: how many, and V-measure and adjusted mutual information with the published topics."""
    data, models = Path(os.environ["CHARTER_TEST_DATA"]), Path(os.environ["CHARTER_MODELS"])
    sets = {"advbench": read_advbench(data), "harmfulqa": read_harmfulqa(data), "harmbench": read_harmbench(data)}
    embedders = {path.parent.name: load_embedder(path.parent) for path in sorted(models.glob("*/config.json"))}
    rows = []
    for name, labelled in sets.items():
        for size in SIZES:
            draws = [random.Random(f"{name}|{size}|{n}").sample(labelled, size) for n in range(DRAWS)]
            rows.append({"set": name, "n": size, "by": "words (TF-IDF, 0.8)", **measure(draws, group_by_words)})
            for model, embedder in embedders.items():
                groups = [group_by_meaning([text for text, _ in draw], embedder) for draw in draws]
                told = iter(groups)
                rows.append({"set": name, "n": size, "by": model, **measure(draws, lambda _, told=told: next(told))})
    return {"draws": DRAWS, "rows": rows, "targets": []}


def load_embedder(folder: Path) -> Embedder:
    """The hidden states of the model in a folder, in the precision in which it lies there."""
    kept = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("dtype", "float32")
    engine = LocalEngine(resolve_model(str(folder)), LocalOptions(dtype=kept))
    return HiddenStateEmbedder(folder.name, lambda: engine)


def group_by_meaning(texts: Sequence[str], embedder: Embedder) -> list[int]:
    """The group of each text, by its vector."""
    return group_vectors(standardize_vectors(embedder.embed(texts)))


def group_by_words(texts: Sequence[str]) -> list[int]:
    """The group of each text, by its words, as the loop does it without an embedder."""
    prompts = [user_prompt(text, place) for place, text in enumerate(texts)]
    findings = [
        Finding(
            id=p.id,
            exchange=Exchange(id=p.id, prompt=p, response="", stop="stop", model="", sampling=Sampling()),
            verdict=Verdict(id=p.id, rubric="harm", label="harmful", outcome="violates", raw=""),
        )
        for p in prompts
    ]
    found = cluster(findings, ClusterSpec(hide=0.0))
    place = {f.id: n for n, group in enumerate(found) for f in (*group.shown, *group.hidden)}
    return [place[p.id] for p in prompts]


def measure(draws: Sequence[Sequence[tuple[str, str]]], group: Any) -> dict[str, Any]:
    """Means over draws: clusters, those of one text, and agreement with the topics where there are any."""
    from sklearn.metrics import adjusted_mutual_info_score, v_measure_score

    counts, singles, agreed, adjusted = [], [], [], []
    for draw in draws:
        labels = group([text for text, _ in draw])
        counts.append(len(set(labels)))
        singles.append(sum(labels.count(label) == 1 for label in set(labels)))
        topics = [topic for _, topic in draw]
        if len(set(topics)) > 1:
            agreed.append(float(v_measure_score(topics, labels)))
            adjusted.append(float(adjusted_mutual_info_score(topics, labels)))
    mean = {"clusters": sum(counts) / len(counts), "of one": sum(singles) / len(singles)}
    mean |= {"topics": len({topic for draw in draws for _, topic in draw})}
    if agreed:
        mean |= {"V": round(sum(agreed) / len(agreed), 3), "adjusted": round(sum(adjusted) / len(adjusted), 3)}
        mean |= {"adjusted, lowest": round(min(adjusted), 3), "adjusted, highest": round(max(adjusted), 3)}
    return mean


def read_advbench(data: Path) -> list[tuple[str, str]]:
    """AdvBench's behaviours; it names no topics."""
    with (data / "advbench/harmful_behaviors.csv").open(encoding="utf-8") as file:
        return [(row["goal"], "") for row in csv.DictReader(file)]


def read_harmfulqa(data: Path) -> list[tuple[str, str]]:
    """HarmfulQA's questions with their topics."""
    topics = json.loads((data / "harmfulqa/harmfulqa.json").read_text(encoding="utf-8"))
    return [(text, topic) for topic, parts in topics.items() for texts in parts.values() for text in texts]


def read_harmbench(data: Path) -> list[tuple[str, str]]:
    """HarmBench's standard behaviours with their semantic categories."""
    with (data / "harmbench/harmbench_behaviors_text_all.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["FunctionalCategory"] == "standard"]
    return [(row["Behavior"], row["SemanticCategory"]) for row in rows]
