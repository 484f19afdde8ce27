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

from charter.methods.principle_driven import (
    PrincipleInputs,
    PrincipleState,
    add_replay,
    make_lookalikes,
    measure_baseline,
    measure_final,
    train_under_gates,
    verify_revisions,
)
from charter.ports import Engine, Roles
from charter.records.revisions import Revision
from charter.records.verdicts import Finding, Verdict
from charter.run import Run, Steps
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
from charter.stages.reflect import critique, revise


def cai(run: Run, roles: Roles, brief: PrincipleInputs) -> PrincipleState:
    """Aligns ``brief.start`` under ``brief.constitution``. Each name on the left is a file of the run."""
    options, folder = brief.options, run.steps("001")
    course = measure_baseline(run.steps("000"), roles, brief)
    batch = course.prompts[: options.draw.batch]
    with roles.target(course.policy) as target:
        exchanges = folder.map("exchanges", probe, batch, target, brief.answers)
        judged = folder.once("judged", select_for_judging, exchanges, (options.cai, options.contrast, options.replay))
        asking = (brief.rubric, brief.templates, options.judge)
        verdicts = folder.map("verdicts", judge, judged, roles.judge, *asking)
        found = folder.once("failures", select_violations, judged, verdicts)
        findings = folder.once("findings", select_revisable, exchanges, verdicts, options.cai)
        lookalikes = make_lookalikes(folder, found, roles, brief)
        revisions, rechecks = run_critique_rounds(folder, findings, target, course, roles, brief)
    examples = verify_revisions(folder, revisions, (batch, rechecks), course, roles, brief)
    course = replace(
        add_replay(folder, (lookalikes, judged, verdicts), len(examples), course, roles, brief),
        probed=(*course.probed, *(p.id for p in batch)),
        causes=(*course.causes, *found),
        folder=1,
    )
    return measure_final(run, train_under_gates(run, examples, course, roles, brief), roles, brief)


def run_critique_rounds(
    run: Steps,
    findings: Sequence[Finding],
    target: Engine,
    course: PrincipleState,
    roles: Roles,
    brief: PrincipleInputs,
) -> tuple[list[Revision], list[Verdict]]:
    """The last revision of each answer after all rounds, and the last verdict on it."""
    options, texts = brief.options, brief.templates
    made, verdicts = list[list[Revision]](), list[list[Verdict]]()
    thinking, answering = (options.reflect, brief.critiques), (options.reflect, brief.answers)
    for number in range(1, options.cai.rounds + 1):
        name, last = f"round{number}", number == options.cai.rounds
        trials = run.once(f"{name}_trials", sample_principles, findings, course.constitution, options.cai)
        critiques = run.map(f"{name}_critiques", critique, trials, target, course.constitution, texts, thinking)
        answers = run.map(f"{name}_revisions", revise, trials, critiques, target, course.constitution, texts, answering)
        asked = run.once(f"{name}_asked", select_for_recheck, answers, last, (options.cai, options.keep))
        exchanges = [r.exchange for r in asked]
        judged = run.map(f"{name}_rechecks", judge, exchanges, roles.judge, brief.rubric, texts, options.judge)
        findings = run.once(f"{name}_carried", next_findings, findings, answers, judged, options.cai)
        made, verdicts = [*made, answers], [*verdicts, judged]
    revisions = run.once("revisions", final_revisions, made)
    return revisions, run.once("settled", final_verdicts, revisions, (made, verdicts))
