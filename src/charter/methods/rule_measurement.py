"""How far each rule mends failures, and whether it reaches too far. A part of methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from charter.constitution.document import Constitution
from charter.methods.inputs import Inputs
from charter.methods.reflection import RevisionJudge, build_reviser, reflect_and_judge
from charter.ports import Engine, Roles
from charter.records.chat import Exchange, Prompt
from charter.records.rules import Lookalikes, Overreach
from charter.records.verdicts import Cluster, Verdict
from charter.runs import NextStep, Steps
from charter.stages.efficacy import (
    add_hidden_findings,
    compute_efficacy,
    draw_extra_prompts,
    find_redundant_rules,
    leave_each_out,
    leave_two_out,
)
from charter.stages.judge import judge, select_violations
from charter.stages.overreach import (
    find_overreaching,
    leave_one_out,
    measure_breadth,
    select_benign_trials,
)
from charter.stages.probe import probe


@dataclass(frozen=True)
class ClusteredRules:
    """Rules, and the clusters of failures that they came of."""

    constitution: Constitution
    clusters: Sequence[Cluster]


@dataclass(frozen=True)
class BenignAnswers:
    """The look-alikes of ``clusters``, what the starting model answered to them, and the verdicts on that."""

    clusters: Sequence[Cluster]
    lookalikes: Sequence[Lookalikes]
    answers: Sequence[Exchange]
    verdicts: Sequence[Verdict]


@dataclass(frozen=True)
class BroadRules:
    """A constitution with the measured breadth of its rules, and those that reach too far."""

    constitution: Constitution
    overreaching: Sequence[Overreach]


def add_hidden_failures(
    run: Steps, rules: ClusteredRules, unprobed: Sequence[Prompt], target: Engine, roles: Roles, inputs: Inputs
) -> list[Cluster]:
    """The clusters with further hidden failures, where a rule has too few to be measured on."""
    constitution, clusters, embedder = rules.constitution, rules.clusters, roles.embedder
    further = run.once(
        "further", draw_extra_prompts, constitution, clusters, unprobed, inputs.options.measure, embedder
    )
    judging = NextStep("further_verdicts", judge, roles.measuring_judge, *inputs.judge_arguments())
    further_exchanges = run.map("further_exchanges", probe, further, target, inputs.answers, then=judging)
    further_verdicts = run.map_next(judging, further_exchanges)
    further_findings = run.once("further_findings", select_violations, further_exchanges, further_verdicts)
    widened = run.once("widened", add_hidden_findings, constitution, clusters, further_findings, embedder)
    return widened


def measure_efficacy(run: Steps, rules: ClusteredRules, model: Engine, roles: Roles, inputs: Inputs) -> Constitution:
    """The constitution with the measured efficacy of each rule, on failures that its proposer never saw."""
    constitution, clusters, measuring = rules.constitution, rules.clusters, inputs.options.measure
    reviser, by = (
        build_reviser(model, constitution, inputs, roles.embedder),
        RevisionJudge(roles.measuring_judge, *inputs.judge_arguments()),
    )
    single_trials = run.once("single_trials", leave_each_out, constitution, clusters, measuring)
    single = reflect_and_judge(run, "single_", single_trials, reviser, by)
    redundant_rules = run.once(
        "redundant_rules", find_redundant_rules, constitution, clusters, single.verdicts, roles.embedder
    )
    double_trials = run.once("double_trials", leave_two_out, constitution, clusters, redundant_rules)
    double = reflect_and_judge(run, "double_", double_trials, reviser, by)
    verdicts = (*single.verdicts, *double.verdicts)
    weighed = run.once("weighed", compute_efficacy, constitution, clusters, verdicts, redundant_rules, measuring)
    return weighed


def measure_overreach(
    run: Steps, weighed: Constitution, benign: BenignAnswers, model: Engine, roles: Roles, inputs: Inputs
) -> BroadRules:
    """The constitution with the measured breadth of each rule, and the rules under which benign look-alikes become
    refused."""
    lookalikes = benign.lookalikes
    reviser = build_reviser(model, weighed, inputs, roles.embedder)
    by = RevisionJudge(roles.measuring_judge, *inputs.judge_arguments(inputs.replay_rubric))
    benign_trials = run.once(
        "benign_trials", select_benign_trials, lookalikes, benign.answers, benign.verdicts, inputs.options.measure
    )
    whole = reflect_and_judge(run, "benign_", benign_trials, reviser, by)
    blamed_trials = run.once("blamed_trials", leave_one_out, weighed, lookalikes, benign_trials, whole.verdicts)
    without = reflect_and_judge(run, "blamed_", blamed_trials, reviser, by)
    verdicts = (*whole.verdicts, *without.verdicts)
    breadth = run.once("breadth", measure_breadth, weighed, lookalikes, benign_trials, verdicts)
    overreaching = run.once("overreaching", find_overreaching, breadth, lookalikes, benign_trials, verdicts)
    return BroadRules(breadth, overreaching)
