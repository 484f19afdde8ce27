"""Constitution proposal: the proposer writes a rule for each cluster, and the constitution takes it in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from charter.constitution.document import Constitution, rules_text
from charter.judging.json_requests import JsonQuestion, JsonRequest, ask_json
from charter.ports import Engine
from charter.records.record import Step, digest
from charter.records.rules import Principle, Proposal
from charter.records.verdicts import Cluster, Finding
from charter.spec import ProposeSpec
from charter.templates import PROPOSAL_SCHEMA, Templates, draw_nonce, failure_text, fence_text


def propose(
    clusters: Sequence[Cluster],
    proposer: Engine,
    constitution: Constitution,
    templates: Templates,
    options: ProposeSpec,
    max_shown: int,
    *,
    step: Step,
) -> Iterator[Proposal]:
    """One proposal for each cluster, from its shown findings alone: at most ``max_shown``, or all of them where the
    reply is free text (the paper's way)."""
    free, rules = options.reply == "last_paragraph", rules_text(constitution)
    held = fence_text("constitution", rules or "(none yet)", draw_nonce(step.random("constitution"), rules))
    known, questions = {c.id: c for c in clusters}, []
    for c in clusters:
        shown = c.shown if free else c.shown[:max_shown]
        questions.append(JsonQuestion(c.id, [f.text for f in shown], partial(_fields, shown, held)))
    form = JsonRequest(
        templates.paper_propose if free else templates.propose, None if free else PROPOSAL_SCHEMA, max_tokens=1024
    )
    for answer, reply in ask_json(proposer, questions, form, step=step):
        said = _last_paragraph(answer.text) if free else reply
        yield _read_proposal(said, known[answer.id]).model_copy(update={"raw": answer.error or answer.text})


def _fields(shown: Sequence[Finding], constitution: str, fence: str) -> dict[str, str]:
    return {"failures": "\n".join(failure_text(f, fence) for f in shown), "constitution": constitution}


def _last_paragraph(text: str) -> dict[str, str]:
    paragraphs = [p.strip() for p in text.split("\n\n") if p.strip()]
    return {"text": paragraphs[-1] if paragraphs else ""}


def _read_proposal(reply: Mapping[str, object], cluster: Cluster) -> Proposal:
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
    return Proposal(id=cluster.id, principle=principle if text else None, raw="")


def _reply_text(reply: Mapping[str, object], key: str) -> str:
    """A text of a reply on one line; empty where it is something else."""
    value = reply.get(key)
    return " ".join(value.split()) if isinstance(value, str) else ""
