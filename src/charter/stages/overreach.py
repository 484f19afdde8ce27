"""Whether rules reach too far: a benign look-alike that the starting model answered well is looked at again under the
constitution. Where it is refused now, and answered without the rule made from its cluster, that rule is to blame: the
proposer rewords it. Rules that mend nothing are retired here too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from charter.constitution.document import Constitution
from charter.judging.json_requests import JsonQuestion, JsonRequest, ask_json
from charter.judging.reply_schemas import PROPOSAL_SCHEMA
from charter.ports import Engine
from charter.records.chat import Exchange
from charter.records.item_ids import trial_id
from charter.records.record import Step
from charter.records.revisions import RevisionTrial
from charter.records.rules import Amendment, Lookalikes, Overreach, OverRefusalCheck, Principle, Proposal
from charter.records.templates import Templates, fence_text, render_conversation
from charter.records.verdicts import Finding, Verdict
from charter.spec import AmendSpec, RuleMeasurementSpec

MAX_SHOWN, MAX_REWORDS = 8, 2
"""Refused prompts that the proposer is shown, and times that a rule is reworded."""


def select_benign_trials(
    lookalikes: Sequence[Lookalikes],
    answers: Sequence[Exchange],
    checks: Sequence[Verdict],
    options: RuleMeasurementSpec,
) -> list[RevisionTrial]:
    """The look-alikes that the judge found benign and well answered, to be looked at again under all rules."""
    good = {v.id: v for v in checks if v.outcome == "complies"}
    asked = {p.id for found in lookalikes for p in found.prompts} if options.breadth else set()
    return [
        RevisionTrial(id=trial_id(e.id), finding=Finding(id=e.id, exchange=e, verdict=good[e.id]))
        for e in answers
        if e.id in good and e.prompt.id in asked
    ]


def leave_one_out(
    constitution: Constitution,
    lookalikes: Sequence[Lookalikes],
    trials: Sequence[RevisionTrial],
    verdicts: Sequence[Verdict],
) -> list[RevisionTrial]:
    """Each refused one again, without each rule that was made from its cluster."""
    refused = _refused_ids(verdicts)
    return [
        RevisionTrial(id=trial_id(t.finding.id, (p.id,)), finding=t.finding, omitted=(p.id,))
        for p in constitution.active
        for t in _trials_of_rule(p, lookalikes, trials)
        if t.id in refused
    ]


def measure_breadth(
    constitution: Constitution,
    lookalikes: Sequence[Lookalikes],
    trials: Sequence[RevisionTrial],
    verdicts: Sequence[Verdict],
) -> Constitution:
    """The constitution with the measured breadth of each rule. What could not be judged under all rules is left out of
    n; a rule without judged look-alikes keeps what it had."""
    judged, refused = {v.id for v in verdicts if v.label is not None}, _refused_ids(verdicts)
    measured = []
    for p in constitution.principles:
        own = [t for t in _trials_of_rule(p, lookalikes, trials) if t.id in judged] if p.status == "approved" else []
        if own:
            bad = [t for t in own if t.id in refused]
            blame = [t for t in bad if (key := trial_id(t.finding.id, (p.id,))) in judged and key not in refused]
            found = OverRefusalCheck(n=len(own), refused=len(bad), because_of_it=len(blame))
            measured.append(p.model_copy(update={"breadth": found}))
        else:
            measured.append(p)
    return constitution.model_copy(update={"principles": tuple(measured)})


def find_overreaching(
    constitution: Constitution,
    lookalikes: Sequence[Lookalikes],
    trials: Sequence[RevisionTrial],
    verdicts: Sequence[Verdict],
) -> list[Overreach]:
    """The proposer's rules that reach too far, at most twice each; a rule of people is only reported."""
    judged, refused = {v.id for v in verdicts if v.label is not None}, _refused_ids(verdicts)
    found = []
    for p in constitution.active:
        own = _trials_of_rule(p, lookalikes, trials)
        if p.breadth is None or not p.breadth.too_broad or not own or p.by == "people" or p.reword_count >= MAX_REWORDS:
            continue
        ids = {t.finding.id for t in own if t.id in refused and trial_id(t.finding.id, (p.id,)) in judged - refused}
        prompts = tuple(t.finding.exchange.prompt for t in own if t.finding.id in ids)
        found.append(Overreach(id=p.id, principle=p, refused=prompts[:MAX_SHOWN]))
    return found


def reword_rules(
    reaches: Sequence[Overreach], proposer: Engine, templates: Templates, *, step: Step
) -> Iterator[Proposal]:
    """Each rule reworded by the proposer; ``principle`` is None where the reply could not be read."""
    known = {r.id: r.principle for r in reaches}
    questions = [
        JsonQuestion(r.id, (r.principle.text, *(p.text for p in r.refused)), partial(_reword_fields, r))
        for r in reaches
    ]
    form = JsonRequest(templates.narrow, PROPOSAL_SCHEMA, max_tokens=1024)
    for answer, reply in ask_json(proposer, questions, form, step=step):
        said = {k: " ".join(v.split()) for k in ("title", "text", "scope") if isinstance(v := reply.get(k), str)}
        new = known[answer.id].model_copy(update=said) if said.get("text") else None
        yield Proposal(id=answer.id, principle=new, raw=answer.error or answer.text)


def _reword_fields(reach: Overreach, fence: str) -> dict[str, str]:
    return {
        "rule": fence_text("rule", reach.principle.text, fence),
        "refused": "\n".join(fence_text("prompt", render_conversation(p), fence) for p in reach.refused),
    }


def revise_rules(constitution: Constitution, rewordings: Sequence[Proposal], options: AmendSpec) -> Constitution:
    """The next version: rules that reach too far in their new words (to be measured anew), rules that are measured
    useless retired. What people decided stays."""
    reworded = {r.id: r.principle for r in rewordings}
    kept, changes = [], []
    for p in constitution.principles:
        if p.id in reworded:
            now, change = _replace_wording(p, reworded[p.id])
        elif options.retire and p.status == "approved" and p.by != "people" and _is_useless(p):
            now, change = _retire_rule(p)
        else:
            now, change = p, None
        kept.append(now)
        changes += [change] if change is not None else []
    return constitution.amend(kept, changes)


def _is_useless(rule: Principle) -> bool:
    return rule.efficacy is not None and rule.efficacy.judgement == "useless"


def _retire_rule(rule: Principle) -> tuple[Principle, Amendment]:
    found = rule.efficacy
    assert found is not None
    reason = f"mends {found.passed_with} of {found.n} unseen failures, without it {found.passed_without}"
    change = Amendment(
        id=f"retired/{rule.id}", action="retired", principles=(rule.id,), reason=reason, by="measurement"
    )
    return rule.model_copy(update={"status": "retired"}), change


def _replace_wording(rule: Principle, new: Principle | None) -> tuple[Principle, Amendment | None]:
    tried = rule.reword_count + 1
    if new is None or new.text == rule.text:
        return rule.model_copy(update={"reword_count": tried}), None
    found = rule.breadth
    assert found is not None
    change = Amendment(
        id=f"narrowed/{rule.id}",
        action="narrowed",
        principles=(rule.id,),
        reason=f"{found.because_of_it} of {found.n} benign look-alikes are refused because of it",
        before=rule.text,
        after=new.text,
    )
    return new.model_copy(update={"reword_count": tried, "efficacy": None, "breadth": None}), change


def _trials_of_rule(
    rule: Principle, lookalikes: Sequence[Lookalikes], trials: Sequence[RevisionTrial]
) -> list[RevisionTrial]:
    """The trials of the look-alikes of a rule's clusters."""
    own = {p.id for found in lookalikes if found.id in rule.clusters for p in found.prompts}
    return [t for t in trials if t.finding.exchange.prompt.id in own and not t.omitted]


def _refused_ids(verdicts: Sequence[Verdict]) -> set[str]:
    return {v.id for v in verdicts if v.label == "refused"}
