"""Constitution proposal: the proposer writes a rule for each cluster, and the constitution takes it in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from charter.constitution.document import Constitution, rules_text
from charter.ports import Engine
from charter.records.chat import Completion, Request, Sampling
from charter.records.record import Step, digest
from charter.records.rules import Principle, Proposal
from charter.records.verdicts import Cluster
from charter.spec import ClusterSpec, ProposeSpec
from charter.templates import (
    PROPOSAL_SCHEMA,
    Templates,
    draw_nonce,
    failure_text,
    fence_text,
    parse_json_object,
    render,
    user_turn,
)


def propose(
    clusters: Sequence[Cluster],
    proposer: Engine,
    constitution: Constitution,
    templates: Templates,
    options: tuple[ProposeSpec, ClusterSpec],
    *,
    step: Step,
) -> Iterator[Proposal]:
    """One proposal for each cluster, from its shown findings alone."""
    proposing, clustering = options
    free = proposing.reply == "last_paragraph"
    known = {c.id: c for c in clusters}
    requests = []
    for c in clusters:
        shown = c.shown if free else c.shown[: clustering.show]
        fence = draw_nonce(step.random(c.id), rules_text(constitution), *(f.text for f in shown))
        fields = {
            "failures": "\n".join(failure_text(f, fence) for f in shown),
            "constitution": fence_text("constitution", rules_text(constitution) or "(none yet)", fence),
            "schema": json.dumps(PROPOSAL_SCHEMA),
        }
        requests.append(
            Request(
                id=c.id,
                messages=user_turn(render(templates.paper_propose if free else templates.propose, fields)),
                sampling=Sampling(max_tokens=1024),
                seed=step.seed(c.id),
                response_schema=None if free else PROPOSAL_SCHEMA,
            )
        )
    for answer in proposer.generate(requests, step.done):
        yield _read_proposal(answer, known[answer.id], free)


def _read_proposal(answer: Completion, cluster: Cluster, free: bool) -> Proposal:
    if free:
        paragraphs = [p.strip() for p in answer.text.split("\n\n") if p.strip()]
        reply = {"text": paragraphs[-1] if paragraphs else ""}
    else:
        reply = parse_json_object(answer.text) or {}
    text = _reply_text(reply, "text")
    principle = Principle(
        id=f"p-{digest([cluster.id, text])[:10]}",
        title=_reply_text(reply, "title"),
        text=text,
        scope=_reply_text(reply, "scope"),
        status="approved",
        because=tuple(f.id for f in (*cluster.shown, *cluster.hidden)),
        clusters=(cluster.id,),
    )
    return Proposal(id=cluster.id, principle=principle if text else None, raw=answer.error or answer.text)


def _reply_text(reply: Mapping[str, object], key: str) -> str:
    """A text of a reply on one line; empty where it is something else."""
    value = reply.get(key)
    return " ".join(value.split()) if isinstance(value, str) else ""
