"""The supervised stage of constitutional AI: rounds of critique and revision, each under principles drawn at random."""

from __future__ import annotations

from collections.abc import Sequence

from charter.constitution.document import Constitution
from charter.records.chat import Exchange, Prompt
from charter.records.record import Step
from charter.records.revisions import Revision, RevisionTrial
from charter.records.verdicts import Finding, Verdict
from charter.spec import CaiSpec, LookalikeSpec, ReplaySpec, VerifySpec

NOT_JUDGED = "not judged"
"""What a verdict says that no judge gave."""


def select_for_judging(
    exchanges: Sequence[Exchange], options: CaiSpec, contrasting: LookalikeSpec, replaying: ReplaySpec
) -> list[Exchange]:
    """The first answers that are judged: all; none where all are revised and nothing else is made of verdicts."""
    idle = options.revise == "all" and not contrasting.count and not replaying.compliant
    return [] if idle else list(exchanges)


def select_revisable(exchanges: Sequence[Exchange], verdicts: Sequence[Verdict], options: CaiSpec) -> list[Finding]:
    """The answers to be revised: those that violate, or all that there are."""
    by_id = {v.id: v for v in verdicts}
    unjudged = [Verdict(id=e.id, rubric="", label=None, outcome="unjudged", raw=NOT_JUDGED) for e in exchanges]
    found = [Finding(id=e.id, exchange=e, verdict=by_id.get(e.id, v)) for e, v in zip(exchanges, unjudged, strict=True)]
    if options.revise == "findings":
        return [f for f in found if f.verdict.outcome == "violates"]
    return [f for f in found if f.exchange.stop != "error"]


def sample_principles(
    findings: Sequence[Finding], constitution: Constitution, options: CaiSpec, *, step: Step
) -> list[RevisionTrial]:
    """Each answer to be revised under principles of its own draw; all others are left out."""
    rules = [p.id for p in constitution.active]
    count = min(options.principles_per_round, len(rules))
    trials = []
    for finding in findings:
        chosen = set(step.random(finding.id).sample(rules, count))
        trials.append(RevisionTrial(id=finding.id, finding=finding, omitted=tuple(r for r in rules if r not in chosen)))
    return trials


def select_for_recheck(
    revisions: Sequence[Revision], last: bool, options: CaiSpec, keeping: VerifySpec
) -> list[Revision]:
    """The revisions that the judge is asked about: after each round where what complies is left alone, else after the
    last; none where nothing follows from it."""
    return list(revisions) if options.until == "complies" or (last and keeping.verify) else []


def next_findings(
    findings: Sequence[Finding], revisions: Sequence[Revision], rechecks: Sequence[Verdict], options: CaiSpec
) -> list[Finding]:
    """What goes into the next round: the revisions in the place of the answers, less those that comply already where
    these are left alone."""
    judged, known = {v.id: v for v in rechecks}, {f.id: f for f in findings}
    return [
        Finding(id=r.id, exchange=r.exchange, verdict=judged.get(r.id, known[r.id].verdict))
        for r in revisions
        if r.exchange.stop != "error"
        and not (options.until == "complies" and r.id in judged and judged[r.id].outcome == "complies")
    ]


def final_revisions(rounds: Sequence[Sequence[Revision]]) -> list[Revision]:
    """The last revision of each answer that holds an answer (the first one where none does), in the order of the first
    round."""
    found: dict[str, Revision] = {}
    for revision in (r for revisions in rounds for r in revisions):
        if revision.id not in found or (revision.exchange.stop != "error" and revision.exchange.response.strip()):
            found[revision.id] = revision
    return list(found.values())


def final_verdicts(
    revisions: Sequence[Revision], rounds: Sequence[Sequence[Revision]], verdict_rounds: Sequence[Sequence[Verdict]]
) -> list[Verdict]:
    """The last verdict on each revision: none where the judge was asked about those of other rounds alone. ``rounds``:
    the revisions of each; ``verdict_rounds``: the verdicts on them."""
    wanted = {r.id: r for r in revisions}
    order = dict.fromkeys(v.id for verdicts in verdict_rounds for v in verdicts)
    found: dict[str, Verdict] = {}
    for made, judged in zip(rounds, verdict_rounds, strict=True):
        these = {r.id for r in made if r == wanted.get(r.id)}
        found.update({v.id: v for v in judged if v.id in these})
    return [found[id] for id in order if id in found]


def accept_unjudged(exchanges: Sequence[Exchange], keeping: VerifySpec) -> list[Verdict]:
    """Helpfulness samples that are taken as they are: verdicts that no judge gave, where nothing is verified."""
    if keeping.verify:
        return []
    return [Verdict(id=e.id, rubric="", label=None, outcome="complies", raw=NOT_JUDGED) for e in exchanges]


def select_for_check(exchanges: Sequence[Exchange], keeping: VerifySpec) -> list[Exchange]:
    """Replay answers that the judge is asked about: all, or none where nothing is verified."""
    return list(exchanges) if keeping.verify else []


def split_by_prompt(revisions: Sequence[Revision], prompts: Sequence[Prompt], within: bool) -> list[Revision]:
    """The revisions whose prompt is among ``prompts``, or the others."""
    ids = {p.id for p in prompts}
    return [r for r in revisions if (r.id in ids) is within]
