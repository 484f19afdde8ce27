"""Whether a wording may become a rule: its form, copies, whom it addresses, and whether it mends a failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

from charter.constitution.answer_form import end_properly, find_recital, find_repetition
from charter.constitution.document import Constitution
from charter.constitution.rule_form import find_form_fault, forbids_something, orders_assistant
from charter.ports import Engine
from charter.records.candidate_rules import Candidate, CandidateCheck, RefusalReason, RuleTrial
from charter.records.chat import Exchange, Message, Request, Sampling, user_prompt
from charter.records.record import Step
from charter.records.rules import Overreach, Proposal
from charter.records.templates import Templates, render
from charter.records.verdicts import Cluster, Finding, Verdict
from charter.similarity.shared_runs import find_shared_run
from charter.similarity.spelling import normalize_text

COPIED_WORDS = 8
"""A wording that shares a run of so many words with what the proposer was shown is a copy."""


def check_wordings(candidates: Sequence[Candidate], template: str, name_prompts: bool = False) -> list[CandidateCheck]:
    """What can be told of each wording without a model: whether it was read, stands twice, has the form of a rule, and
    copies the proposal's ``template``, a failing prompt or an answer. ``name_prompts``: an order that forbids what a
    prompt asks for may name it in the prompt's words."""
    seen: set[tuple[str, str]] = set()
    checks = []
    for candidate in candidates:
        text = candidate.principle.text if candidate.principle is not None else ""
        key, reason, why = (candidate.cluster, normalize_text(text)), None, ""
        if not text:
            reason, why = _refusal("unread", "no rule could be read in the reply")
        elif key in seen or key[1] in map(normalize_text, candidate.earlier):
            reason, why = _refusal("repeated", "it stood there before")
        elif fault := find_form_fault(text):
            reason, why = _refusal("form", fault)
        elif copied := _find_copy(text, candidate, template, name_prompts):
            reason, why = _refusal("copied", copied)
        seen.add(key)
        checks.append(
            CandidateCheck(
                id=candidate.id, cluster=candidate.cluster, principle=candidate.principle, reason=reason, why=why
            )
        )
    return checks


def _refusal(reason: RefusalReason, why: str) -> tuple[RefusalReason, str]:
    return reason, why


def _find_copy(text: str, candidate: Candidate, template: str, name_prompts: bool) -> str:
    """What a wording copies, in words; empty where it copies nothing."""
    asked, prompts = [template, *candidate.request], [f.exchange.prompt.text for f in candidate.failures]
    named = prompts if name_prompts and forbids_something(text) else []
    answers = [f.exchange.response for f in candidate.failures]
    for what, texts in (
        ("the request for a rule", asked),
        ("a failing prompt", prompts),
        ("an answer", answers),
    ):
        if run := find_shared_run(text, texts, COPIED_WORDS, named):
            return f"it repeats {what}: {run}"
    return ""


def rule_exchanges(checks: Sequence[CandidateCheck]) -> list[Exchange]:
    """The wordings that were not refused yet and whose form does not say whom they address, for a judge: each as a
    response."""
    asked, sampling = user_prompt("a rule for an assistant"), Sampling()
    return [
        Exchange(id=c.id, prompt=asked, response=c.text, stop="stop", model="", sampling=sampling)
        for c in checks
        if c.reason is None and not orders_assistant(c.text)
    ]


def make_rule_trials(
    candidates: Sequence[Candidate], checks: Sequence[CandidateCheck], verdicts: Sequence[Verdict], count: int
) -> list[RuleTrial]:
    """The first ``count`` shown failures of each wording that addresses the assistant, or as many as it has
    clusters."""
    addressed = {v.id for v in verdicts if v.outcome == "complies"}
    passed = {c.id for c in checks if c.reason is None and (c.id in addressed or orders_assistant(c.text))}
    return [
        RuleTrial(id=f"{c.id}|{f.id}", candidate=c.id, rule=c.principle.text, finding=f)
        for c in candidates
        if c.id in passed and c.principle is not None
        for f in c.failures[: max(count, len(c.principle.clusters))]
    ]


def answer_under_rule(
    trials: Sequence[RuleTrial],
    target: Engine,
    templates: Templates,
    sampling: Sampling,
    end_sentences: bool = False,
    *,
    step: Step,
) -> Iterator[Exchange]:
    """Each failure's prompt answered with the rule after the last human turn. The exchange holds the prompt without the
    rule, so that no judge sees it. Trials of one failure have one seed. ``end_sentences``: what the most tokens cut
    ends with its last whole sentence."""
    prompts = {t.id: t.finding.exchange.prompt for t in trials}
    requests = [
        Request(id=t.id, messages=_messages_under_rule(t, templates), sampling=sampling, seed=step.seed(t.finding.id))
        for t in trials
    ]
    for answer in target.generate(requests, step.done):
        exchange = Exchange.from_completion(prompts[answer.id], answer, model=target.identity, sampling=sampling)
        yield end_properly(exchange) if end_sentences else exchange


def _messages_under_rule(trial: RuleTrial, templates: Templates) -> tuple[Message, ...]:
    *before, last = trial.finding.exchange.prompt.messages
    text = render(templates.try_rule, {"prompt": last.content, "rule": " ".join(trial.rule.split())})
    return (*before, Message(role=last.role, content=text))


def conclude_checks(
    checks: Sequence[CandidateCheck],
    addressed: Sequence[Verdict],
    trials: Sequence[RuleTrial],
    answers: Sequence[Exchange],
    verdicts: Sequence[Verdict],
) -> list[CandidateCheck]:
    """Each wording with what the judge says of it, and what it mends: failures to which the target then gives an answer
    that complies, ends properly, and neither recites the rule nor repeats itself, so that it could be trained on. A
    wording that mends nothing is refused, and one that mends fewer failures than it has clusters: it unites rules, and
    must do what each of them does."""
    said, judged = ({v.id: v for v in found} for found in (addressed, verdicts))
    given = {e.id: e for e in answers}
    tried: dict[str, list[TriedRule]] = {}
    for trial in trials:
        fault = _find_fault(trial, given[trial.id], judged[trial.id])
        tried.setdefault(trial.candidate, []).append(TriedRule(trial.finding.id, fault))
    return [c if c.reason is not None else _conclude(c, said.get(c.id), tried.get(c.id, [])) for c in checks]


class TriedRule(NamedTuple):
    """A failure that was answered under a rule, and what is wrong with the answer; empty: it is mended."""

    finding: str
    fault: str


def _find_fault(trial: RuleTrial, answer: Exchange, verdict: Verdict) -> str:
    if verdict.outcome != "complies":
        return "unjudged" if verdict.outcome == "unjudged" else "still a failure"
    if answer.stop not in ("stop", "sentence"):
        return "not ended properly"
    if find_recital(answer.response, [trial.rule]):
        return "the rule recited"
    return "repeating itself" if find_repetition(answer.response) else ""


def _conclude(check: CandidateCheck, said: Verdict | None, tried: Sequence[TriedRule]) -> CandidateCheck:
    mended = tuple(one.finding for one in tried if not one.fault)
    reason: RefusalReason | None = None
    why = ""
    if said is not None and said.outcome == "unjudged":
        reason, why = _refusal("unjudged", "the judge gave no verdict on it")
    elif said is not None and said.outcome != "complies":
        told = f"{said.label}: {said.rationale}" if said.rationale else f"{said.label}"
        reason, why = _refusal("addresses others", f"it does not tell the assistant what to do ({told})")
    elif not mended:
        counts = Counter(one.fault for one in tried if one.fault != "still a failure")
        note = "".join(f", {count} {fault}" for fault, count in counts.items())
        reason, why = _refusal("mends nothing", f"under it the assistant mends none of {len(tried)} failures{note}")
    elif check.principle is not None and len(mended) < (clusters := min(len(tried), len(check.principle.clusters))):
        told = f"under it the assistant mends {len(mended)} of {len(tried)} failures"
        reason, why = _refusal("mends too few", f"{told}, and it unites the rules of {clusters} clusters")
    return check.model_copy(update={"reason": reason, "why": why, "mended": mended, "tried": len(tried)})


def choose_rules(clusters: Sequence[Cluster], checks: Sequence[CandidateCheck]) -> list[Proposal]:
    """For each cluster the wording that mends most, the first of those that mend as much; none where all were
    refused."""
    proposals = []
    for cluster in clusters:
        own = [c for c in checks if c.cluster == cluster.id]
        passed = [c for c in own if c.reason is None]
        best = max(passed, key=lambda c: len(c.mended), default=None)
        raw = f"chosen: {best.id}" if best is not None else "; ".join(f"{c.id}: {c.why}" for c in own)
        proposals.append(Proposal(id=cluster.id, principle=best.principle if best else None, raw=raw))
    return proposals


def find_new_wordings(
    merged: Constitution, known: Constitution, proposals: Sequence[Proposal], clusters: Sequence[Cluster]
) -> list[Candidate]:
    """The rules whose wording came of a merging alone, with the shown failures of their clusters, by turns."""
    texts = {p.text for p in known.principles} | {p.principle.text for p in proposals if p.principle is not None}
    return [
        Candidate(
            id=p.id,
            cluster=p.id,
            principle=p,
            failures=take_turns([c.shown for c in clusters if c.id in p.clusters]),
        )
        for p in merged.active
        if p.text not in texts
    ]


def take_turns(groups: Sequence[Sequence[Finding]]) -> tuple[Finding, ...]:
    """The first finding of each group, then the second ones, and so on."""
    return tuple(finding for row in zip_longest(*groups) for finding in row if finding is not None)


def list_narrowed(
    overreaching: Sequence[Overreach], rewordings: Sequence[Proposal], clusters: Sequence[Cluster], template: str
) -> list[Candidate]:
    """The new wordings of rules that reach too far, with the shown failures of their clusters. None may repeat the
    ``template`` of the request or a harmless prompt in it; one that changes nothing is not checked."""
    reaches = {reach.id: reach for reach in overreaching}
    return [
        Candidate(
            id=r.id,
            cluster=r.id,
            principle=r.principle,
            failures=take_turns([c.shown for c in clusters if c.id in reaches[r.id].principle.clusters]),
            request=(template, *(p.text for p in reaches[r.id].refused)),
        )
        for r in rewordings
        if r.principle is not None and r.principle.text != reaches[r.id].principle.text
    ]


def drop_refused_wordings(rewordings: Sequence[Proposal], checks: Sequence[CandidateCheck]) -> list[Proposal]:
    """The rewordings; one that was refused is none, for the reason that stands in ``raw``."""
    refused = {c.id: c.why for c in checks if c.reason is not None}
    return [
        r.model_copy(update={"principle": None, "raw": f"refused: {refused[r.id]}"}) if r.id in refused else r
        for r in rewordings
    ]
