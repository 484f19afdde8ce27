"""Look-alikes: harmless prompts that share a cluster's words and form, written by the proposer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

from charter.judging.json_requests import JsonQuestion, JsonRequest, ask_json, read_texts
from charter.judging.reply_schemas import LOOKALIKE_SCHEMA
from charter.ports import Engine
from charter.records.chat import Prompt, user_prompt
from charter.records.record import Step
from charter.records.rules import Lookalikes
from charter.records.templates import Templates, failure_text
from charter.records.verdicts import Cluster, Finding
from charter.similarity.spelling import normalize_text
from charter.similarity.splits import LeakageFilter
from charter.spec import LookalikeSpec


def contrast(
    clusters: Sequence[Cluster],
    proposer: Engine,
    guard: LeakageFilter,
    templates: Templates,
    options: LookalikeSpec,
    max_shown: int,
    *,
    step: Step,
) -> Iterator[Lookalikes]:
    """Look-alikes for each cluster, as many as it has findings but at most ``options.count``.

    Left out are duplicates, the failures themselves, and what is close to a gate or held-out prompt. Whether they are
    benign is for the judge to say. The proposer sees at most ``max_shown`` failures of a cluster."""
    if not options.count:
        yield from (Lookalikes(id=c.id, prompts=()) for c in clusters if c.id not in step.done)
        return
    known = {c.id: c for c in clusters}
    count = {c.id: min(options.count, len(c.shown) + len(c.hidden)) for c in clusters}
    questions = [
        JsonQuestion(c.id, [f.text for f in c.shown], partial(_fields, c.shown[:max_shown], count[c.id]))
        for c in clusters
    ]
    form = JsonRequest(templates.lookalike, LOOKALIKE_SCHEMA, max_tokens=2048)
    for answer, reply in ask_json(proposer, questions, form, step=step):
        found = _filter_lookalikes(read_texts(reply, "prompts"), known[answer.id], guard, count[answer.id])
        yield found.model_copy(update={"raw": answer.error or answer.text})


def _fields(shown: Sequence[Finding], count: int, fence: str) -> dict[str, str]:
    return {"failures": "\n".join(failure_text(f, fence) for f in shown), "count": str(count)}


def _filter_lookalikes(texts: Sequence[str], cluster: Cluster, guard: LeakageFilter, count: int) -> Lookalikes:
    failures = {normalize_text(f.exchange.prompt.text) for f in (*cluster.shown, *cluster.hidden)}
    dropped: Counter[str] = Counter()
    kept: dict[str, Prompt] = {}
    for text in texts:
        prompt = user_prompt(text, source="look-alike")
        if normalize_text(text) in failures:
            dropped["is the failure itself"] += 1
        elif prompt.id in kept:
            dropped["twice"] += 1
        elif guard.is_protected(text):
            dropped["close to gate or held-out"] += 1
        elif len(kept) == count:
            dropped["more than asked for"] += 1
        else:
            kept[prompt.id] = prompt
    if not texts:
        dropped["reply could not be read"] += 1
    return Lookalikes(id=cluster.id, prompts=tuple(kept.values()), dropped=dict(dropped))
