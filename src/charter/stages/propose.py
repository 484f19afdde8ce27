"""Constitution proposal: the proposer writes a rule for each cluster, and the constitution takes it in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from charter.constitution.document import Constitution, rules_text
from charter.judging.json_requests import JsonQuestion, JsonRequest, ask_json
from charter.judging.reply_schemas import PROPOSAL_SCHEMA
from charter.ports import Engine
from charter.records.candidate_rules import CandidateCheck, CandidateRequest
from charter.records.record import Step, digest
from charter.records.rules import Principle, Proposal
from charter.records.templates import Templates, draw_nonce, failure_text, fence_text
from charter.records.verdicts import Cluster, Finding
from charter.spec import ProposeSpec

MAX_REFUSED_CHARACTERS = 600
"""The most characters of a refused wording, and of its reason, in a further request."""


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
    free, held = options.reply == "last_paragraph", _constitution_text(constitution, step)
    known, questions = {c.id: c for c in clusters}, []
    for c in clusters:
        shown = c.shown if free else c.shown[:max_shown]
        questions.append(JsonQuestion(c.id, [f.text for f in shown], partial(_fields, shown, held)))
    for answer, reply in ask_json(proposer, questions, _proposal_form(templates, free), step=step):
        said = _last_paragraph(answer.text) if free else reply
        yield _read_proposal(said, known[answer.id]).model_copy(update={"raw": answer.error or answer.text})


def propose_candidates(
    requests: Sequence[CandidateRequest],
    proposer: Engine,
    constitution: Constitution,
    templates: Templates,
    options: ProposeSpec,
    max_shown: int,
    *,
    step: Step,
) -> Iterator[Proposal]:
    """One wording for each request, under its id, from the shown findings alone. The first of a cluster is the
    likeliest, the others are drawn. What was refused before stands in the request, fenced, with the reasons."""
    free, held = options.reply == "last_paragraph", _constitution_text(constitution, step)
    asked = {request.id: request.cluster for request in requests}
    form = _proposal_form(templates, free)
    if any(request.refused for request in requests):
        form = replace(form, template=form.template + templates.propose_again)
    questions = [
        JsonQuestion(
            r.id,
            (*(f.text for f in r.cluster.shown[:max_shown]), *map(_refused_text, r.refused)),
            partial(_fields, r.cluster.shown[:max_shown], held, refused=r.refused),
            temperature=options.temperature if r.number > 1 else 0.0,
        )
        for r in requests
    ]
    for answer, reply in ask_json(proposer, questions, form, step=step):
        said = _last_paragraph(answer.text) if free else reply
        proposal = _read_proposal(said, asked[answer.id])
        yield proposal.model_copy(update={"id": answer.id, "raw": answer.error or answer.text})


def _proposal_form(templates: Templates, free: bool) -> JsonRequest:
    template = templates.paper_propose if free else templates.propose
    return JsonRequest(template, None if free else PROPOSAL_SCHEMA, max_tokens=1024)


def _refused_text(check: CandidateCheck) -> str:
    """A refused wording with the reason, cut where it is long."""
    return f"{check.text[:MAX_REFUSED_CHARACTERS]}\nRefused: {check.why[:MAX_REFUSED_CHARACTERS]}"


def _constitution_text(constitution: Constitution, step: Step) -> str:
    """The rules, fenced by one mark for all calls of a step, so that the beginning of all requests is the same."""
    rules = rules_text(constitution)
    return fence_text("constitution", rules or "(none yet)", draw_nonce(step.random("constitution"), rules))


def _fields(
    shown: Sequence[Finding], constitution: str, fence: str, refused: Sequence[CandidateCheck] = ()
) -> dict[str, str]:
    return {
        "refused": "\n".join(fence_text("refused", _refused_text(check), fence) for check in refused),
        "failures": "\n".join(failure_text(f, fence) for f in shown),
        "constitution": constitution,
    }


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
