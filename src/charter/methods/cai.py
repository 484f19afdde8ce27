"""Constitutional AI, the supervised stage (Bai et al., arXiv 2212.08073): answer, then criticise and revise in rounds,
under principles drawn at random; tune on the revisions together with helpfulness samples.

Every departure from the paper is a named switch of ``Options``; the recipe ``cai-paper`` has the faithful setting.

1. constitution: the rules of a file (paper: sixteen pairs of a request for a critique and one for a revision).
2. cai.of: the answers that the judge finds to violate are revised (paper: all).
3. cai.until: an answer that the judge passes is left alone in later rounds (paper: every round revises it again).
4. contrast: look-alikes of the failures are among the helpfulness samples (not in the paper).
5. keep: only verified revisions become rows (paper: all).
6. replay: helpfulness samples are judged, red-team answers that complied are among them (paper: samples as they are).
7. cai.pretrained: the helpful model itself is tuned (paper: the pre-trained model; either can be named here).
8. gates: gate decides whether the policy is used (paper: used as it is).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from charter.methods.inputs import Inputs
from charter.methods.principle_driven import (
    JudgedByConduct,
    PrincipleState,
    ReplaySources,
    add_replay,
    make_lookalikes,
    measure_baseline,
    measure_final,
    train_under_gates,
    verify_revisions,
)
from charter.methods.reflection import JudgedRevisions, Reviser, build_reviser, reflect
from charter.ports import Roles
from charter.records.chat import Exchange
from charter.records.revisions import Revision
from charter.records.verdicts import Finding, Verdict
from charter.runs import NextStep, Run, Steps
from charter.stages.critique_rounds import (
    final_revisions,
    final_verdicts,
    next_findings,
    sample_principles,
    select_for_judging,
    select_for_recheck,
    select_revisable,
)
from charter.stages.judge import judge, select_violations
from charter.stages.probe import probe
from charter.stages.reflect import revised_exchanges


def cai(run: Run, roles: Roles, inputs: Inputs) -> PrincipleState:
    """Aligns ``inputs.start`` under ``inputs.constitution``. Each name on the left of a step is a file."""
    options, folder = inputs.options, run.steps("001")
    course = measure_baseline(run.steps("000"), roles, inputs)
    batch = course.prompts[: options.draw.batch]
    with roles.target(course.policy) as target:
        judging = NextStep(
            "verdicts",
            judge,
            roles.judge,
            *inputs.judge_arguments(),
            to_items=lambda exchange: select_for_judging([exchange], options.cai, options.contrast, options.replay),
        )
        exchanges = folder.map("exchanges", probe, batch, target, inputs.answers, then=judging)
        judged = folder.once("judged", select_for_judging, exchanges, options.cai, options.contrast, options.replay)
        verdicts = folder.map_next(judging, judged)
        failures = folder.once("failures", select_violations, judged, verdicts)
        findings = folder.once("findings", select_revisable, exchanges, verdicts, options.cai)
        lookalikes = make_lookalikes(folder, failures, roles, inputs)
        reviser = build_reviser(target, course.constitution, inputs, roles.embedder)
        revised = run_critique_rounds(folder, findings, reviser, roles, inputs)
    hard = JudgedByConduct(batch, revised.verdicts)
    examples = verify_revisions(folder, revised.revisions, hard, course, roles, inputs)
    sources = ReplaySources(lookalikes, judged, verdicts)
    course = replace(
        add_replay(folder, sources, len(examples), course, roles, inputs),
        probed=(*course.probed, *(p.id for p in batch)),
        causes=(*course.causes, *failures),
        folder=1,
    )
    return measure_final(run, train_under_gates(run, examples, course, roles, inputs), roles, inputs)


def _to_recheck(last: bool, inputs: Inputs, revision: Revision) -> list[Exchange]:
    """What is judged of a revision after a round."""
    return revised_exchanges(select_for_recheck([revision], last, inputs.options.cai, inputs.options.keep))


def run_critique_rounds(
    run: Steps, findings: Sequence[Finding], reviser: Reviser, roles: Roles, inputs: Inputs
) -> JudgedRevisions:
    """The last revision of each answer after all rounds, and the last verdict on it."""
    options, constitution = inputs.options, reviser.setup.constitution
    revision_rounds, verdict_rounds = list[Sequence[Revision]](), list[Sequence[Verdict]]()
    for number in range(1, options.cai.rounds + 1):
        name, last = f"round{number}", number == options.cai.rounds
        trials = run.once(f"{name}_trials", sample_principles, findings, constitution, options.cai)
        judging = NextStep(
            f"{name}_rechecks",
            judge,
            roles.judge,
            *inputs.judge_arguments(),
            to_items=partial(_to_recheck, last, inputs),
        )
        revisions = reflect(run, f"{name}_", trials, reviser, judging)
        asked = run.once(f"{name}_asked", select_for_recheck, revisions, last, options.cai, options.keep)
        rechecks = run.map_next(judging, revised_exchanges(asked))
        carried = run.once(f"{name}_carried", next_findings, findings, revisions, rechecks, options.cai)
        findings = carried
        revision_rounds, verdict_rounds = [*revision_rounds, revisions], [*verdict_rounds, rechecks]
    revisions = run.once("revisions", final_revisions, revision_rounds)
    settled = run.once("settled", final_verdicts, revisions, revision_rounds, verdict_rounds)
    return JudgedRevisions(revisions, settled)
