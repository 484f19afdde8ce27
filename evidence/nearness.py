"""What is nearest to failures, by meaning and by words, against HarmfulQA's subtopics.

``CHARTER_MODELS`` names a folder of model folders; each model in it is tried as an embedder.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from charter.constitution.document import Constitution, select_nearest_rules
from charter.ports import Embedder
from charter.records.chat import Exchange, Sampling, user_prompt
from charter.records.rules import Principle
from charter.records.verdicts import Cluster, Finding, Verdict
from charter.similarity.splits import rank
from charter.similarity.vectors import compare_meanings
from charter.stages.efficacy import add_hidden_findings
from evidence.meaning import load_embedder

DRAWS, SUBTOPICS = 3, 10
KNOWN, NEW, POOL = 6, 4, 6
"""Of each subtopic: questions that a cluster holds, further ones that look for their rule or cluster, and those of the
pool that is ranked."""


class Remembering:
    """An embedder that places each text once."""

    def __init__(self, inner: Embedder) -> None:
        self.inner, self.identity = inner, inner.identity
        self._known: dict[str, list[float]] = {}

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """As the embedder does."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known |= dict(zip(new, self.inner.embed(new), strict=True)) if new else {}
        return [self._known[text] for text in texts]


def nearness() -> dict[str, Any]:
    """Shares that are right (chance: a tenth), with their range over draws: the nearest rule and cluster of ten, and
    the nearest prompts by a cluster and by one rule alone."""
    data, models = Path(os.environ["CHARTER_TEST_DATA"]), Path(os.environ["CHARTER_MODELS"])
    topics = json.loads((data / "harmfulqa/harmfulqa.json").read_text(encoding="utf-8"))
    parts = {name: texts for known in topics.values() for name, texts in known.items()}
    ways: dict[str, Embedder | None] = {"words (TF-IDF)": None}
    ways |= {path.parent.name: Remembering(load_embedder(path.parent)) for path in sorted(models.glob("*/config.json"))}
    tries: dict[str, Callable[[dict[str, list[str]], Embedder | None], float]] = {
        "nearest rule of ten": find_rules,
        "nearest cluster of ten": find_clusters,
        "prompts nearest to a cluster": find_prompts,
        "prompts nearest to one rule": find_by_rule,
    }
    rows = []
    for what, measure in tries.items():
        for by, embedder in ways.items():
            found = [measure(draw_subtopics(parts, number), embedder) for number in range(DRAWS)]
            low, high = round(min(found), 3), round(max(found), 3)
            rows.append({"what": what, "by": by, "right": round(sum(found) / DRAWS, 3), "lowest": low, "highest": high})
    return {"draws": DRAWS, "subtopics": SUBTOPICS, "rows": rows, "targets": []}


def draw_subtopics(parts: dict[str, list[str]], number: int) -> dict[str, list[str]]:
    """Some questions of each of ten subtopics."""
    draw = random.Random(f"nearness|{number}")
    return {name: draw.sample(parts[name], KNOWN + NEW + POOL) for name in draw.sample(sorted(parts), SUBTOPICS)}


def rule_of(name: str) -> str:
    """A rule about a subtopic."""
    return f"Do not help anyone to do harm by means of {name.lower()}."


def find_rules(drawn: dict[str, list[str]], embedder: Embedder | None) -> float:
    """Questions that are shown the rule of their subtopic, where one of ten is shown."""
    rules = tuple(Principle(id=name, title="", text=rule_of(name), status="approved") for name in drawn)
    asked = {f"{name}|{n}": (text, ()) for name, texts in drawn.items() for n, text in enumerate(texts[:NEW])}
    shown = select_nearest_rules(asked, Constitution(principles=rules), 1, "- {text}", embedder)
    return sum(shown[key].active[0].id == key.split("|")[0] for key in asked) / len(asked)


def find_clusters(drawn: dict[str, list[str]], embedder: Embedder | None) -> float:
    """Questions that join the cluster of their subtopic."""
    clusters = [
        Cluster(id=name, terms=(), shown=tuple(_failure(text) for text in texts[:KNOWN]), hidden=())
        for name, texts in drawn.items()
    ]
    rules = tuple(Principle(id=f"p-{n}", title="", text=n, status="approved", clusters=(n,)) for n in drawn)
    new = {text: name for name, texts in drawn.items() for text in texts[KNOWN : KNOWN + NEW]}
    widened = add_hidden_findings(Constitution(principles=rules), clusters, [_failure(text) for text in new], embedder)
    return sum(new[f.exchange.prompt.text] == c.id for c in widened for f in c.hidden) / len(new)


def find_prompts(drawn: dict[str, list[str]], embedder: Embedder | None) -> float:
    """Of the prompts that are nearest to a cluster, those of its subtopic."""
    return _precision(drawn, {name: texts[:KNOWN] for name, texts in drawn.items()}, embedder)


def find_by_rule(drawn: dict[str, list[str]], embedder: Embedder | None) -> float:
    """Of the prompts that are nearest to a rule alone, those of its subtopic."""
    return _precision(drawn, {name: [rule_of(name)] for name in drawn}, embedder)


def _precision(drawn: dict[str, list[str]], like: dict[str, list[str]], embedder: Embedder | None) -> float:
    pool = [(text, name) for name, texts in drawn.items() for text in texts[KNOWN + NEW :]]
    right = 0
    for name, texts in like.items():
        places = _order([text for text, _ in pool], texts, embedder)[:POOL]
        right += sum(pool[place][1] == name for place in places)
    return right / len(pool)


def _order(pool: Sequence[str], like: Sequence[str], embedder: Embedder | None) -> list[int]:
    if embedder is None:
        return [place for place, _ in rank(like, pool)]
    alike = compare_meanings(embedder, like, pool).mean(axis=0)
    return sorted(range(len(pool)), key=lambda n: (-float(alike[n]), n))


def _failure(text: str) -> Finding:
    prompt = user_prompt(text)
    exchange = Exchange(id=prompt.id, prompt=prompt, response="", stop="stop", model="", sampling=Sampling())
    verdict = Verdict(id=prompt.id, rubric="harm", label="harmful", outcome="violates", raw="")
    return Finding(id=prompt.id, exchange=exchange, verdict=verdict)
