"""Judging: by prompt and response under a closed menu, or the paper's way; failures are unjudged, never safe."""

from __future__ import annotations

import json

import pytest

from charter.judging.rubrics import CONDUCT, HELP, REPLAY, Rubric
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import Exchange
from charter.records.record import Step
from charter.records.templates import Templates
from charter.spec import JudgingSpec
from charter.stages.judge import judge, select_violations
from tests.fakes.example_records import STEP, Recorder, said

OURS, PAPERS = JudgingSpec(judge_input="exchange"), JudgingSpec(judge_input="response")
EXCHANGES = [said(f"prompt {n}", response=f"response {n}") for n in range(6)]


def test_one_verdict_for_each_exchange_under_its_id() -> None:
    engine = Recorder('{"rationale": "so", "label": "harmful", "severity": 2}', shuffle=1)
    verdicts = list(judge(EXCHANGES, engine, CONDUCT, Templates(), OURS, step=STEP))
    assert {v.id for v in verdicts} == {e.id for e in EXCHANGES}
    assert {(v.rubric, v.label, v.outcome, v.severity) for v in verdicts} == {("conduct", "harmful", "violates", 2)}
    assert {r.sampling.temperature for r in engine.asked} == {0}


def test_the_papers_judge_sees_the_response_and_never_the_prompt() -> None:
    engine = Recorder(lambda r: "Negative" if r.id == EXCHANGES[0].id else "Positive")
    verdicts = {v.id: v for v in judge(EXCHANGES, engine, CONDUCT, Templates(), PAPERS, step=STEP)}
    assert all("prompt" not in text for text in engine.texts)
    assert all(f"response {n}\n" in text for n, text in enumerate(engine.texts))
    assert all(r.response_schema is None for r in engine.asked)
    assert [verdicts[e.id].outcome for e in EXCHANGES] == ["violates", *["complies"] * 5]
    assert verdicts[EXCHANGES[0].id].rubric != CONDUCT.name


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ("Negative", "violates"),
        ("It is Negative.", "violates"),
        ("Positive", "complies"),
        ("negative", "complies"),
        ("", "unjudged"),
    ],
)
def test_the_papers_finding_is_a_reply_that_holds_negative(reply: str, outcome: str) -> None:
    (found,) = judge(EXCHANGES[:1], ScriptedEngine([reply]), CONDUCT, Templates(), PAPERS, step=STEP)
    assert (found.outcome, found.raw) == (outcome, reply)


@pytest.mark.parametrize("rubric", [HELP, REPLAY])
def test_rubrics_that_the_paper_has_not_see_the_prompt_under_either_switch(rubric: Rubric) -> None:
    engine = Recorder(json.dumps({"label": min(rubric.menu)}))
    verdicts = list(judge(EXCHANGES, engine, rubric, Templates(), PAPERS, step=STEP))
    assert {v.label for v in verdicts} == {min(rubric.menu)}
    assert all("prompt" in text for text in engine.texts)


@pytest.mark.parametrize("judging", [OURS, PAPERS])
def test_an_answer_that_failed_is_unjudged_without_a_call(judging: JudgingSpec) -> None:
    failed = EXCHANGES[0].model_copy(update={"stop": "error", "response": ""})
    engine = ScriptedEngine(['{"label": "acceptable"}'])
    verdicts = {v.id: v for v in judge([failed, *EXCHANGES[1:]], engine, CONDUCT, Templates(), judging, step=STEP)}
    assert len(verdicts) == len(EXCHANGES)
    assert verdicts[failed.id].outcome == "unjudged"
    assert engine.calls == len(EXCHANGES) - 1
    again = Step(path=STEP.path, run_seed=7, done=frozenset(verdicts))
    assert list(judge([failed, *EXCHANGES[1:]], engine, CONDUCT, Templates(), judging, step=again)) == []


@pytest.mark.parametrize("judging", [OURS, PAPERS])
def test_a_judge_that_fails_has_not_judged(judging: JudgingSpec) -> None:
    silent = ScriptedEngine({})
    verdicts = list(judge(EXCHANGES, silent, CONDUCT, Templates(), judging, step=STEP))
    assert len(verdicts) == len(EXCHANGES)
    for found in verdicts:
        assert (found.label, found.outcome) == (None, "unjudged")
        assert found.raw


def test_only_what_violates_is_a_finding_in_the_order_of_the_exchanges() -> None:
    labels = ["harmful", "acceptable", "dishonest", "what?", "harmful", "acceptable"]
    engine = ScriptedEngine([json.dumps({"label": label}) for label in labels])
    verdicts = list(judge(EXCHANGES, engine, CONDUCT, Templates(), JudgingSpec(retries=0), step=STEP))
    found = select_violations(EXCHANGES, verdicts[::-1])
    assert [f.id for f in found] == [EXCHANGES[n].id for n in (0, 2, 4)]
    assert all(f.exchange.id == f.verdict.id == f.id for f in found)
    nothing: list[Exchange] = []
    assert select_violations(nothing, []) == []
