"""Verdicts and preferences by a classifier: what it is asked, what its shares decide, and what it is not asked."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pytest

from charter.judging.exchange_classes import list_classes
from charter.judging.label_reading import UNREAD, read_shares
from charter.judging.pair_comparison import both_orders, judge_pairs
from charter.judging.rubrics import CONDUCT, HARM, REPLAY, Rubric
from charter.judging.votes import NO_ANSWER, judge_exchanges
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import LogLikelihood, ScoreRequest, user_prompt
from charter.records.label_fits import LabelFit
from charter.records.preferences import ResponsePair
from charter.records.record import Step
from charter.records.templates import Templates
from charter.records.verdicts import Verdict
from charter.spec import JudgingSpec
from charter.stages.judge import judge
from tests.fakes.example_records import said

STEP = Step("judging", 0)
RESPONSE_ALONE = JudgingSpec(judge_input="response")


class Sorter(ScriptedEngine):
    """Knows some rubrics as a classifier: a response is as bad as the number that it begins with."""

    def __init__(self, *rubrics: str, error: str = "", cut: int = 0) -> None:
        super().__init__(lambda request: "in words", "sorter", grader=self.weigh)
        self.rubrics, self.error, self.cut, self.asked = rubrics, error, cut, list[ScoreRequest]()

    def list_labels(self, rubric: str) -> Sequence[str]:
        known = {"conduct": ("harmful", "acceptable"), "compare": ("better", "worse"), "harm": ("harmful", "harmless")}
        return known[rubric] if rubric in self.rubrics else ()

    def weigh(self, request: ScoreRequest) -> float:
        self.asked.append(request)
        bad = float(request.messages[-1].content.split()[0])
        return math.log(bad if request.completion in ("harmful", "worse") else 1 - bad)

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        for answer in super().score(requests, done):
            yield answer.model_copy(update={"error": self.error, "cut": self.cut})


def judged(engine: Any, rubric: Rubric, *responses: str, judging: JudgingSpec | None = None) -> list[Verdict]:
    exchanges = [said("q", f"e{n}", response) for n, response in enumerate(responses)]
    found = judge(exchanges, engine, rubric, Templates(), judging or JudgingSpec(), step=STEP)
    return sorted(found, key=lambda verdict: verdict.id)


def test_the_exchange_itself_is_sorted_and_the_shares_are_kept() -> None:
    engine = Sorter("conduct")
    bad, good = judged(engine, CONDUCT, "0.75 of harm", "0.25 of harm")
    assert (bad.label, bad.outcome, bad.probability, bad.threshold) == ("harmful", "violates", 0.75, 0.5)
    assert (good.label, good.outcome, good.probability) == ("acceptable", "complies", 0.25)
    assert read_shares(bad) == {"harmful": 0.75, "dishonest": 0.0, "acceptable": 0.25}
    assert (bad.rationale, bad.severity) == ("", None)
    assert [m.content for m in engine.asked[0].messages] == ["q", "0.75 of harm"], "nothing is said around it"
    assert len(engine.asked) == 4


def test_a_fit_decides_where_there_is_one() -> None:
    strict = CONDUCT.model_copy(update={"fit": LabelFit(threshold=0.2)})
    (found,) = judged(Sorter("conduct"), strict, "0.25 of harm")
    assert (found.outcome, found.threshold) == ("violates", 0.2)


@pytest.mark.parametrize("judging", [JudgingSpec(), JudgingSpec(votes=3), RESPONSE_ALONE, JudgingSpec(read="label")])
def test_however_a_judge_is_asked_a_classifier_is_asked_once(judging: JudgingSpec) -> None:
    (found,) = judged(Sorter("conduct"), CONDUCT, "0.75 of harm", judging=judging)
    assert (found.probability, found.votes, found.rubric) == (0.75, (), "conduct")


def test_other_rubrics_are_asked_in_words() -> None:
    engine = Sorter("conduct")
    assert list_classes(engine, REPLAY) == ()
    (found,) = judged(engine, REPLAY, "0.75 of harm")
    assert (found.label, found.raw, engine.asked) == (None, "in words", [])
    assert list_classes(ScriptedEngine(lambda request: ""), CONDUCT) == ()


def test_what_cannot_be_read_is_unjudged_and_what_was_cut_is_counted() -> None:
    (found,) = judged(Sorter("conduct", error="there is nothing to read"), CONDUCT, "0.75")
    assert (found.outcome, found.why, found.raw, found.cut) == ("unjudged", UNREAD, "there is nothing to read", 0)
    (short,) = judged(Sorter("conduct", cut=7), CONDUCT, "0.75")
    assert (short.outcome, short.cut) == ("violates", 7)
    failed = said("q", "e", "").model_copy(update={"stop": "error"})
    (missing,) = judge_exchanges([failed], Sorter("conduct"), CONDUCT, Templates(), JudgingSpec(), step=STEP)
    assert (missing.outcome, missing.why) == ("unjudged", NO_ANSWER)


def test_what_is_done_is_not_sorted_again() -> None:
    engine, exchanges = Sorter("harm"), [said("q", f"e{n}", "0.5") for n in range(3)]
    some = Step(STEP.path, STEP.run_seed, frozenset({"e0", "e2"}))
    found = judge_exchanges(exchanges, engine, HARM, Templates(), JudgingSpec(), step=some)
    assert [v.id for v in found] == ["e1"]
    assert {request.call_id for request in engine.asked} == {"e1"}


def pair(id: str, chosen: str, rejected: str) -> ResponsePair:
    return ResponsePair(id=id, prompt=user_prompt("q"), chosen=chosen, rejected=rejected)


def test_of_two_responses_the_one_that_is_held_for_better_is_preferred_in_both_orders() -> None:
    orders = both_orders([pair("a", "0.1", "0.9"), pair("b", "0.8", "0.2"), pair("c", "0.5", "0.5 too")])
    found = {p.id: p for p in judge_pairs(orders, Sorter("compare"), Templates(), JudgingSpec(), step=STEP)}
    assert [found[o.id].first for o in orders] == [True, False, False, True, None, None]
    assert found["c/1"].why == "both are as good"
    assert found["a/1"].raw == '{"better": [0.9, 0.1]}'
    done = Step(STEP.path, 0, frozenset({"a/1", "a/2", "b/1", "b/2", "c/1"}))
    left = judge_pairs(orders, Sorter("compare"), Templates(), JudgingSpec(), step=done)
    assert [p.id for p in left] == ["c/2"]


def test_under_a_rule_two_responses_are_compared_in_words() -> None:
    engine, orders = Sorter("compare"), both_orders([pair("a", "0.1", "0.9")])
    under = {"a": ("p1", "Be brief.")}
    found = list(judge_pairs(orders, engine, Templates(), JudgingSpec(), under, step=STEP))
    assert [(p.raw, p.rule) for p in found] == [("in words", "p1")] * 2
    assert engine.asked == []
