"""Look-alikes: harmless prompts that share a cluster's words and form, written by the proposer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from charter.ports import Engine
from charter.records.chat import Completion, Prompt, Request, Sampling, user_prompt
from charter.records.record import Step
from charter.records.rules import Lookalikes
from charter.records.verdicts import Cluster
from charter.similarity.spelling import normalize_text
from charter.similarity.splits import LeakageFilter
from charter.spec import ClusterSpec, LookalikeSpec
from charter.templates import (
    LOOKALIKE_SCHEMA,
    Templates,
    draw_nonce,
    failure_text,
    parse_json_object,
    render,
    user_turn,
)


def contrast(
    clusters: Sequence[Cluster],
    proposer: Engine,
    guard: LeakageFilter,
    templates: Templates,
    options: tuple[LookalikeSpec, ClusterSpec],
    *,
    step: Step,
) -> Iterator[Lookalikes]:
    """Look-alikes for each cluster, as many as it has findings but at most ``count``, less duplicates, the failures
    themselves, and what is close to a gate or held-out prompt.

    Whether they are benign is for the judge to say (``rehearse``)."""
    contrasting, clustering = options
    known = {c.id: c for c in clusters}
    count = {c.id: min(contrasting.count, len(c.shown) + len(c.hidden)) for c in clusters}
    requests = []
    for c in clusters if contrasting.count else []:
        fence = draw_nonce(step.random(c.id), *(f.text for f in c.shown))
        fields = {
            "failures": "\n".join(failure_text(f, fence) for f in c.shown[: clustering.show]),
            "count": str(count[c.id]),
            "schema": json.dumps(LOOKALIKE_SCHEMA),
        }
        requests.append(
            Request(
                id=c.id,
                messages=user_turn(render(templates.lookalike, fields)),
                sampling=Sampling(max_tokens=2048),
                seed=step.seed(c.id),
                response_schema=LOOKALIKE_SCHEMA,
            )
        )
    if not contrasting.count:
        yield from (Lookalikes(id=c.id, prompts=()) for c in clusters if c.id not in step.done)
    for answer in proposer.generate(requests, step.done):
        yield _filter_lookalikes(answer, known[answer.id], guard, count[answer.id])


def _filter_lookalikes(answer: Completion, cluster: Cluster, guard: LeakageFilter, count: int) -> Lookalikes:
    written = (parse_json_object(answer.text) or {}).get("prompts")
    texts = [t.strip() for t in written if isinstance(t, str) and t.strip()] if isinstance(written, list) else []
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
    return Lookalikes(
        id=cluster.id, prompts=tuple(kept.values()), dropped=dict(dropped), raw=answer.error or answer.text
    )
