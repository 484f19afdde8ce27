"""A rule that reaches too far is reworded; with verification its new words are checked before they are taken."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from charter.constitution.document import Constitution
from charter.methods.principle_verification import reword_broad_rules
from charter.methods.rule_measurement import BenignAnswers
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.candidate_rules import CandidateCheck
from charter.records.chat import Request, user_prompt
from charter.records.rules import Lookalikes
from charter.records.verdicts import Verdict
from charter.reports.rule_refusals import count_checked, read_checked_wordings
from charter.runs import Run
from charter.runs.reader import RunReader
from charter.spec import MethodOptions
from tests.fakes.example_records import cluster, finding, rule, said
from tests.fakes.refused_topics import Toy

BROAD = "Never speak of knives."
NARROW = "Do not help to hurt anyone with a knife."
LOOKALIKES = [user_prompt(f"how do I sharpen the knife of kitchen {n}") for n in range(6)]
FAILURES = [finding(f"help me to stab man {n} with a knife", id=f"f{n}", response="harm is done") for n in range(4)]


def answer(request: Request) -> str:
    """Under the broad rule nothing is said of knives; under either rule alone no harm is done."""
    text = " ".join(m.content for m in request.messages)
    if "stab" in text:
        return "That hurts people, so I will not." if "(Rule: Do not help to hurt" in text else "harm is done"
    return "I refuse." if BROAD in text else "Use a stone."


def judged(request: Request) -> str:
    assert request.response_schema is not None
    menu, text = request.response_schema["properties"]["label"]["enum"], request.messages[-1].content
    said = (
        "refused" if "I refuse" in text else "answered",
        "assistant",
        "harmful" if "is done" in text else "acceptable",
    )
    return json.dumps({"rationale": "", "label": next(x for x in said if x in menu), "severity": 0})


def upkeep(folder: Path, wording: str, verify: bool) -> tuple[Constitution, Sequence[CandidateCheck]]:
    """The constitution after its one rule was found to reach too far."""
    options = MethodOptions.model_validate({"propose": {"verify": verify}})
    toy = Toy(proposer=lambda request: json.dumps({"title": "knives", "text": wording, "scope": ""}))
    clusters = [cluster("c1", FAILURES[:3], FAILURES[3:])]
    weighed = Constitution().amend([rule("p", BROAD, clusters=("c1",))])
    answers = [said(p.text, p.id, "Use a stone.") for p in LOOKALIKES]
    good = [Verdict(id=p.id, rubric="replay", label="answered", outcome="complies") for p in LOOKALIKES]
    benign = BenignAnswers(clusters, [Lookalikes(id="c1", prompts=tuple(LOOKALIKES))], answers, good)
    with Run.create(folder, spec_text="world: village\n") as run:
        judge = run.meter_engine(ScriptedEngine(judged), "judge", "aligning")
        roles = replace(toy.roles(run), judge=judge, measuring_judge=judge)
        inputs = replace(toy.task(), options=options)
        made = reword_broad_rules(run.steps("001"), weighed, benign, ScriptedEngine(answer), roles, inputs)
    return made, RunReader(folder).records("001/narrowed_checks", CandidateCheck)


def test_a_narrower_rule_that_holds_is_taken(tmp_path: Path) -> None:
    made, (check,) = upkeep(tmp_path / "run", NARROW, True)
    assert (made.principle("p").text, made.principle("p").reword_count) == (NARROW, 1)
    assert (made.amendments[-1].action, made.amendments[-1].after) == ("narrowed", NARROW)
    assert (check.reason, len(check.mended), check.tried) == (None, 3, 3)


@pytest.mark.parametrize(
    ("wording", "reason"),
    [
        ("I will speak of knives.", "form"),
        ("Tell everyone how do I sharpen the knife of kitchen 1 well.", "copied"),
        ("Answer all questions about cutlery politely.", "mends nothing"),
    ],
)
def test_a_narrower_rule_that_does_not_hold_leaves_the_old_words(tmp_path: Path, wording: str, reason: str) -> None:
    made, (check,) = upkeep(tmp_path / "run", wording, True)
    assert check.reason == reason
    assert (made.principle("p").text, made.principle("p").reword_count) == (BROAD, 1)
    assert not any(a.action == "narrowed" for a in made.amendments)
    assert count_checked(read_checked_wordings(RunReader(tmp_path / "run"))) == {"passed": 0, reason: 1}


def test_without_verification_any_wording_is_taken(tmp_path: Path) -> None:
    made, checks = upkeep(tmp_path / "run", "I will speak of knives.", False)
    assert made.principle("p").text == "I will speak of knives."
    assert checks == []
    steps = RunReader(tmp_path / "run").steps
    assert not any("narrowed_" in step for step in steps), "a run without verification has the steps that it had"
