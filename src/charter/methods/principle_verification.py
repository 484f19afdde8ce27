"""Proposals become rules only where they hold: wordings are checked, tried on failures, and asked for again. A part of
methods."""

from __future__ import annotations

from collections.abc import Sequence

from charter.constitution.document import Constitution
from charter.judging.rubrics import ADDRESS
from charter.methods.inputs import Inputs
from charter.methods.rule_measurement import BenignAnswers, ClusteredRules, measure_overreach
from charter.ports import Engine, Roles
from charter.records.candidate_rules import Candidate, CandidateCheck, CandidateRequest
from charter.records.rules import Proposal
from charter.records.verdicts import Cluster
from charter.runs import NextStep, Steps
from charter.spec import ProposeSpec
from charter.stages.amend import amend, restore_wordings
from charter.stages.judge import judge
from charter.stages.overreach import revise_rules, reword_rules
from charter.stages.propose import propose, propose_candidates
from charter.stages.ratify import ratify
from charter.stages.rule_checks import (
    answer_under_rule,
    check_wordings,
    choose_rules,
    conclude_checks,
    drop_refused_wordings,
    find_new_wordings,
    list_narrowed,
    make_rule_trials,
    rule_exchanges,
)


def record_seed(run: Steps, inputs: Inputs) -> Constitution:
    """The rules of people that discovery begins with, on record; none where there are none."""
    constitution = inputs.constitution
    if constitution.principles:
        constitution = run.record("constitution", constitution)
    return constitution


def discover_rules(run: Steps, rules: ClusteredRules, target: Engine, roles: Roles, inputs: Inputs) -> Constitution:
    """The constitution with a new rule for each cluster, as far as one holds."""
    proposals = propose_rules(run, rules, target, roles, inputs)
    amended = amend_rules(run, rules, proposals, target, roles, inputs)
    return amended


def propose_rules(
    run: Steps, rules: ClusteredRules, target: Engine, roles: Roles, inputs: Inputs
) -> Sequence[Proposal]:
    """A proposal for each cluster. Verified: the best of several wordings; where all are refused they are asked for
    again with the reasons, and at last there is none. Otherwise the only one, as it comes."""
    options, shown, clusters = inputs.options.propose, inputs.options.cluster.show, rules.clusters
    known, texts = rules.constitution, inputs.templates
    if not options.verify:
        return run.map("proposals", propose, clusters, roles.proposer, known, texts, options, shown)
    found: list[CandidateCheck] = []
    for number in range(1, options.retries + 2):
        passed = {check.cluster for check in found if check.reason is None}
        requests = list_requests([c for c in clusters if c.id not in passed], found, number, options)
        if not requests:
            break
        candidates = run.map(
            f"proposal{number}_candidates", propose_candidates, requests, roles.proposer, known, texts, options, shown
        )
        wordings = list_candidates(requests, candidates, shown)
        found += check_candidates(run, f"proposal{number}_", wordings, target, roles, inputs)
    proposals = run.once("proposals", choose_rules, clusters, found)
    return proposals


def amend_rules(
    run: Steps, rules: ClusteredRules, proposals: Sequence[Proposal], target: Engine, roles: Roles, inputs: Inputs
) -> Constitution:
    """The constitution with the new rules. Verified: a wording that came of a merging is checked as proposals are."""
    known, texts, options = rules.constitution, inputs.templates, inputs.options
    if not options.propose.verify:
        return run.once("amended", amend, known, proposals, roles.proposer, texts, options.amend)
    merged = run.once("merged", amend, known, proposals, roles.proposer, texts, options.amend)
    wordings = find_new_wordings(merged, known, proposals, rules.clusters)
    found = check_candidates(run, "merged_", wordings, target, roles, inputs)
    amended = run.once("amended", restore_wordings, merged, found, known, proposals)
    return amended


def ratify_rules(run: Steps, weighed: Constitution, inputs: Inputs) -> Constitution:
    """The constitution as people decided about it, where they decide. Raises UndecidedError where rules wait."""
    if inputs.options.ratify.by == "auto":
        return weighed
    ratified = run.once("ratified", ratify, weighed, run.decisions_for("ratified"), inputs.options.ratify)
    return ratified


def reword_broad_rules(
    run: Steps, weighed: Constitution, benign: BenignAnswers, model: Engine, roles: Roles, inputs: Inputs
) -> Constitution:
    """The constitution after upkeep: rules under which benign look-alikes become refused are reworded, rules that mend
    nothing are retired. Verified: a narrower wording is checked as proposals are, by ``model``, and a rule whose new
    wording is refused keeps its own."""
    broad = measure_overreach(run, weighed, benign, model, roles, inputs)
    narrowed = run.map("narrowed", reword_rules, broad.overreaching, roles.proposer, inputs.templates)
    if inputs.options.propose.verify and narrowed:
        wordings = list_narrowed(broad.overreaching, narrowed, benign.clusters, inputs.templates.narrow)
        found = check_candidates(run, "narrowed_", wordings, model, roles, inputs)
        narrowed_rules = run.once("narrowed_rules", drop_refused_wordings, narrowed, found)
        narrowed = narrowed_rules
    constitution = run.once("constitution", revise_rules, broad.constitution, narrowed, inputs.options.amend)
    return constitution


def check_candidates(
    run: Steps, prefix: str, candidates: Sequence[Candidate], target: Engine, roles: Roles, inputs: Inputs
) -> list[CandidateCheck]:
    """What became of each wording. What costs nothing comes first, and what was refused is asked nothing more."""
    texts, options = inputs.templates, inputs.options.propose
    template = texts.paper_propose if options.reply == "last_paragraph" else texts.propose
    forms = run.once(f"{prefix}forms", check_wordings, candidates, template, options.name_prompts)
    addressed = run.map(
        f"{prefix}addressed", judge, rule_exchanges(forms), roles.judge, *inputs.judge_arguments(ADDRESS)
    )
    trials = run.once(f"{prefix}trials", make_rule_trials, candidates, forms, addressed, options.probes)
    judging = NextStep(f"{prefix}rechecks", judge, roles.judge, *inputs.judge_arguments())
    how = (texts, inputs.answers, inputs.options.reflect.end_sentences)
    answers = run.map(f"{prefix}answers", answer_under_rule, trials, target, *how, then=judging)
    rechecks = run.map_next(judging, answers)
    checks = run.once(f"{prefix}checks", conclude_checks, forms, addressed, trials, answers, rechecks)
    return checks


def list_requests(
    clusters: Sequence[Cluster], found: Sequence[CandidateCheck], number: int, options: ProposeSpec
) -> list[CandidateRequest]:
    """The wordings that are asked for the ``number``-th time, each with what was refused for its cluster."""
    return [
        CandidateRequest(
            id=f"{cluster.id}/{number}.{place}",
            cluster=cluster,
            number=place,
            refused=tuple(check for check in found if check.cluster == cluster.id),
        )
        for cluster in clusters
        for place in range(1, options.candidates + 1)
    ]


def list_candidates(
    requests: Sequence[CandidateRequest], proposals: Sequence[Proposal], max_shown: int
) -> list[Candidate]:
    """The wordings that came, each with the failures that its proposer was shown."""
    return [
        Candidate(
            id=asked.id,
            cluster=asked.cluster.id,
            principle=proposal.principle,
            failures=asked.cluster.shown[:max_shown],
            earlier=tuple(check.text for check in asked.refused),
        )
        for asked, proposal in zip(requests, proposals, strict=True)
    ]
