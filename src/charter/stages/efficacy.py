"""Efficacy of each principle, on failures that its proposer never saw.

Each hidden failure is answered again under the constitution, and under the constitution less this rule. Where two rules
cover each other, it is answered without both, too. Prompts and seeds are the same: a paired comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from charter.constitution.document import Constitution
from charter.ports import Embedder
from charter.records.chat import Prompt
from charter.records.item_ids import trial_id
from charter.records.record import Record
from charter.records.revisions import RevisionTrial
from charter.records.rules import MIN_EFFICACY_PAIRS, Efficacy, Principle
from charter.records.verdicts import Cluster, Finding, Verdict
from charter.similarity.splits import find_top_ranked, rank
from charter.similarity.vectors import compare_meanings, shortlist
from charter.spec import RuleMeasurementSpec
from charter.statistics import holm, mcnemar

PROMPTS_A_MISSING = 3
"""Further prompts that are asked for each failure that a rule is short of: a probed prompt need not fail."""


class Redundancy(Record):
    """Principles left out together when ``id`` is measured."""

    id: str
    omitted: tuple[str, ...]


def hidden_findings(principle: Principle, clusters: Sequence[Cluster]) -> list[Finding]:
    """The hidden findings of a principle's clusters."""
    return [f for c in clusters if c.id in principle.clusters for f in c.hidden]


def draw_extra_prompts(
    constitution: Constitution,
    clusters: Sequence[Cluster],
    unprobed: Sequence[Prompt],
    options: RuleMeasurementSpec,
    embedder: Embedder | None = None,
) -> list[Prompt]:
    """Train prompts like the clusters of principles with fewer than 8 hidden failures: the nearest, three for each that
    is missing. Nearness goes by the meaning of prompts, and without an embedder by the
    words of the failures (TF-IDF)."""
    chosen: dict[str, Prompt] = {}
    for principle in constitution.active:
        own = [c for c in clusters if c.id in principle.clusters]
        missing = MIN_EFFICACY_PAIRS - len(hidden_findings(principle, clusters))
        if options.efficacy and own and missing > 0 and unprobed:
            like = [f for c in own for f in (*c.shown, *c.hidden)]
            chosen.update({p.id: p for p in _order_prompts(like, unprobed, embedder)[: PROMPTS_A_MISSING * missing]})
    return list(chosen.values())


def _order_prompts(like: Sequence[Finding], prompts: Sequence[Prompt], embedder: Embedder | None) -> list[Prompt]:
    """The nearest prompts first; among equally near ones the first id."""
    ordered = sorted(prompts, key=lambda prompt: prompt.id)
    if embedder is None:
        ranked = [ordered[place] for place, _ in rank([f.text for f in like], [p.text for p in ordered])]
        return ranked or list(prompts)
    asked = [f.exchange.prompt.text for f in like]
    near = [ordered[place] for place in shortlist(asked, [p.text for p in ordered])]
    alike = compare_meanings(embedder, asked, [p.text for p in near]).mean(axis=0)
    return [near[n] for n in sorted(range(len(near)), key=lambda n: (-float(alike[n]), n))]


def add_hidden_findings(
    constitution: Constitution,
    clusters: Sequence[Cluster],
    findings: Sequence[Finding],
    embedder: Embedder | None = None,
) -> list[Cluster]:
    """The clusters with further findings added to the hidden half of the cluster that they are nearest to: by meaning,
    and without an embedder by words."""
    measured = [c for c in clusters if any(c.id in p.clusters for p in constitution.active)]
    if not measured or not findings:
        return list(clusters)
    added: dict[str, list[Finding]] = {}
    if embedder is not None:
        places = _nearest_clusters(findings, measured, embedder)
    else:
        own = [" ".join(f.text for f in (*c.shown, *c.hidden)) for c in measured]
        places = find_top_ranked([finding.text for finding in findings], own)  # none where no cluster holds a word
    for finding, place in zip(findings, places, strict=False):
        added.setdefault(measured[place].id, []).append(finding)
    return [c.model_copy(update={"hidden": (*c.hidden, *added.get(c.id, []))}) for c in clusters]


def _nearest_clusters(findings: Sequence[Finding], clusters: Sequence[Cluster], embedder: Embedder) -> list[int]:
    """For each finding the place of the cluster to whose members it is nearest in the mean; prompt and response count
    the same, as they do where clusters are made."""
    members = [(place, f) for place, c in enumerate(clusters) for f in (*c.shown, *c.hidden)]
    prompts = compare_meanings(
        embedder, [f.exchange.prompt.text for f in findings], [f.exchange.prompt.text for _, f in members]
    )
    responses = compare_meanings(
        embedder, [f.exchange.response for f in findings], [f.exchange.response for _, f in members]
    )
    owners = [place for place, _ in members]
    nearest = []
    for row in (prompts + responses).tolist():
        means = {
            place: sum(value for value, owner in zip(row, owners, strict=True) if owner == place) / owners.count(place)
            for place in range(len(clusters))
        }
        nearest.append(max(means, key=lambda place: (means[place], -place)))
    return nearest


def leave_each_out(
    constitution: Constitution, clusters: Sequence[Cluster], options: RuleMeasurementSpec
) -> list[RevisionTrial]:
    """For each principle with causes in these clusters: every hidden failure under the whole constitution, and
    without the principle."""
    made: dict[str, RevisionTrial] = {}
    for p in constitution.active if options.efficacy else ():
        for f in hidden_findings(p, clusters):
            for omitted in ((), (p.id,)):
                made[trial_id(f.id, omitted)] = RevisionTrial(id=trial_id(f.id, omitted), finding=f, omitted=omitted)
    return list(made.values())


def find_redundant_rules(
    constitution: Constitution,
    clusters: Sequence[Cluster],
    verdicts: Sequence[Verdict],
    embedder: Embedder | None = None,
) -> list[Redundancy]:
    """Principles whose absence changes little although their failures are mended: another rule may cover them. Each
    is measured again without the rule that is most alike: in its meaning, and without an embedder in its words."""
    passed = {v.id for v in verdicts if v.outcome == "complies"}
    out = []
    for p in constitution.active:
        hidden = hidden_findings(p, clusters)
        mended = [f for f in hidden if trial_id(f.id) in passed]
        still = [f for f in mended if trial_id(f.id, (p.id,)) in passed]
        others = [q for q in constitution.active if q.id != p.id]
        if mended and len(still) * 2 > len(mended) and others:
            out.append(Redundancy(id=p.id, omitted=(p.id, _most_similar_rule(p, others, embedder).id)))
    return out


def _most_similar_rule(principle: Principle, others: Sequence[Principle], embedder: Embedder | None) -> Principle:
    if embedder is not None:
        (alike,) = compare_meanings(embedder, [principle.text], [q.text for q in others]).tolist()
        return max(zip(alike, others, strict=True), key=lambda pair: (pair[0], pair[1].id))[1]
    words = set(principle.text.lower().split())
    return max(others, key=lambda q: (len(words & (own := set(q.text.lower().split()))) / len(words | own), q.id))


def leave_two_out(
    constitution: Constitution, clusters: Sequence[Cluster], found: Sequence[Redundancy]
) -> list[RevisionTrial]:
    """The hidden failures of covered principles, without both rules, and without the other one alone."""
    return [
        RevisionTrial(id=trial_id(f.id, omitted), finding=f, omitted=omitted)
        for c in found
        for f in hidden_findings(constitution.principle(c.id), clusters)
        for omitted in (c.omitted, c.omitted[1:])
    ]


def compute_efficacy(
    constitution: Constitution,
    clusters: Sequence[Cluster],
    verdicts: Sequence[Verdict],
    found: Sequence[Redundancy],
    options: RuleMeasurementSpec,
) -> Constitution:
    """The constitution with the measured efficacy of each principle: paired difference, exact McNemar, Holm over the
    principles.

    Pairs with an unjudged side are left out of n. A principle that was not measured now, or on too few pairs, keeps
    what it had."""
    outcome = {v.id: v.outcome for v in verdicts}
    omitted = {c.id: c.omitted for c in found}
    measured = {
        p.id: _paired_efficacy(hidden_findings(p, clusters), omitted.get(p.id, (p.id,)), outcome)
        for p in constitution.active
        if options.efficacy and any(c.id in p.clusters for c in clusters)
    }
    measured = {
        key: e
        for key, e in measured.items()
        if e.n >= MIN_EFFICACY_PAIRS or constitution.principle(key).efficacy is None
    }
    tested = [key for key, e in measured.items() if e.p is not None]
    for key, corrected in zip(tested, holm([measured[k].p or 0.0 for k in tested]), strict=True):
        measured[key] = measured[key].model_copy(update={"p_holm": corrected})
    updated = [
        p.model_copy(update={"efficacy": measured[p.id]}) if p.id in measured else p for p in constitution.principles
    ]
    return constitution.model_copy(update={"principles": tuple(updated)})


def _paired_efficacy(hidden: Sequence[Finding], omitted: tuple[str, ...], outcome: Mapping[str, str]) -> Efficacy:
    """Where a second rule is left out too, it counts only for failures that the first would mend without it: a rule
    that mends nothing has no credit for another one's absence."""

    def of(f: Finding, *less: str) -> str:
        return outcome.get(trial_id(f.id, less), "unjudged")

    def without(f: Finding) -> str:
        alone = of(f, *omitted[1:]) if len(omitted) > 1 else "violates"
        return alone if alone == "unjudged" else of(f, *(omitted if alone == "complies" else omitted[:1]))

    pairs = [(of(f), without(f)) for f in hidden]
    judged = [(a == "complies", b == "complies") for a, b in pairs if "unjudged" not in (a, b)]
    n = len(judged)
    gained = sum(a and not b for a, b in judged)
    lost = sum(b and not a for a, b in judged)
    return Efficacy(
        n=n,
        passed_with=sum(a for a, _ in judged),
        passed_without=sum(b for _, b in judged),
        difference=(gained - lost) / n if n else None,
        p=mcnemar(gained, lost) if n >= MIN_EFFICACY_PAIRS else None,
        p_holm=None,
        without=omitted,
        note="" if n >= MIN_EFFICACY_PAIRS else "too few",
    )
