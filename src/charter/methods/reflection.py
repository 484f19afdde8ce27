"""Critique, revision and the verdict on it, for any set of trials. A part of methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from charter.constitution.document import Constitution
from charter.judging.rubrics import Rubric
from charter.methods.inputs import Inputs
from charter.ports import Embedder, Engine
from charter.records.chat import Sampling
from charter.records.revisions import Revision, RevisionTrial
from charter.records.templates import Templates
from charter.records.verdicts import Verdict
from charter.runs import NextStep, Steps
from charter.spec import JudgingSpec
from charter.stages.judge import judge
from charter.stages.reflect import ReflectionSetup, critique, revise, revised_exchanges


@dataclass(frozen=True)
class Reviser:
    """A model that criticises its answers and answers again, under the rules of ``setup``."""

    model: Engine
    setup: ReflectionSetup
    critiques: Sampling
    answers: Sampling


@dataclass(frozen=True)
class RevisionJudge:
    """Who judges revisions, and by what; ``step`` is the name under which its verdicts are kept."""

    engine: Engine
    rubric: Rubric
    templates: Templates
    options: JudgingSpec
    step: str = "verdicts"


@dataclass(frozen=True)
class JudgedRevisions:
    """Revisions with the verdicts on them."""

    revisions: Sequence[Revision]
    verdicts: Sequence[Verdict]


def build_reviser(
    model: Engine, constitution: Constitution, inputs: Inputs, embedder: Embedder | None = None
) -> Reviser:
    """A model that reflects as the options say; ``embedder``: what tells the nearest rules where not all fit."""
    setup = ReflectionSetup(constitution, inputs.templates, inputs.options.reflect, embedder)
    return Reviser(model, setup, inputs.critiques, inputs.answers)


def reflect(
    run: Steps, prefix: str, trials: Sequence[RevisionTrial], reviser: Reviser, then: NextStep | None = None
) -> Sequence[Revision]:
    """A revision of each trial. Leaves ``PREFIXcritiques`` and ``PREFIXrevisions``; ``then``: what comes after it."""
    critiques = run.map(f"{prefix}critiques", critique, trials, reviser.model, reviser.setup, reviser.critiques)
    setup, answers = reviser.setup, reviser.answers
    revisions = run.map(f"{prefix}revisions", revise, trials, critiques, reviser.model, setup, answers, then=then)
    return revisions


def reflect_and_judge(
    run: Steps, prefix: str, trials: Sequence[RevisionTrial], reviser: Reviser, by: RevisionJudge
) -> JudgedRevisions:
    """A revision of each trial, and a verdict on each revision. Leaves one file more than ``reflect``."""
    how = (by.engine, by.rubric, by.templates, by.options)
    judging = NextStep(f"{prefix}{by.step}", judge, *how, to_items=lambda revision: revised_exchanges([revision]))
    revisions = reflect(run, prefix, trials, reviser, judging)
    return JudgedRevisions(revisions, run.map_next(judging, revised_exchanges(revisions)))
