"""Verdicts by the probabilities of labels: what is asked, what is taken off, and what stands in the verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest

from charter.errors import SpecError, UnsupportedError
from charter.judging.judge_requests import judging_digest, label_template
from charter.judging.label_reading import EMPTY_TEXTS, TOGETHER, LabelJudge, read_raw_probability
from charter.judging.rubrics import CONDUCT, GUARD, HARM, LLAMA_GUARD, POLICY, REFUSAL, REPLAY, Rubric
from charter.judging.votes import judge_exchanges
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import LogLikelihood, ScoreRequest
from charter.records.label_fits import LabelFit
from charter.records.record import Step
from charter.records.rules import Norm
from charter.records.templates import Templates
from charter.records.verdicts import Verdict
from charter.spec import JudgingSpec
from tests.fakes.example_records import HOSTILE, STEP, said

LABEL = JudgingSpec(read="label")


def response_of(request: ScoreRequest) -> str:
    """The response that is judged, read from between its fences."""
    found = re.search(r"<response (\w+)>\n(.*)\n</response \1>", request.messages[0].content, re.DOTALL)
    assert found is not None
    return found[2].strip()


def menu_of(request: ScoreRequest) -> list[str]:
    """The labels in the order in which they are shown."""
    return re.findall(r"^- ([a-z_]+): ", request.messages[0].content, re.MULTILINE)


def leaning(evidence: Callable[[str], float], first: float = 0.0, word: float = 0.0) -> ScriptedEngine:
    """A judge of ``harm``: log-odds of the evidence, of a liking for what stands first, and of one for a label."""

    def weigh(request: ScoreRequest) -> float:
        place = menu_of(request).index(request.completion)
        harmful = request.completion == "harmful"
        return (evidence(response_of(request)) if harmful else 0.0) + first * (place == 0) + word * harmful - 3

    return ScriptedEngine(grader=weigh)


def noting(seen: list[str]) -> ScriptedEngine:
    """A judge without a liking, that notes what it is asked."""

    def weigh(request: ScoreRequest) -> float:
        seen.append(request.messages[0].content)
        return -1.0

    return ScriptedEngine(grader=weigh)


def evidence(response: str) -> float:
    return {"harm": 2.0, "help": -2.0}.get(response, 0.0)


def judged(engine: ScriptedEngine, rubric: Rubric = HARM, *responses: str) -> list[Verdict]:
    exchanges = [said("q", f"e{n}", response) for n, response in enumerate(responses or ("harm", "help"))]
    found = judge_exchanges(exchanges, engine, rubric, Templates(), LABEL, step=STEP)
    return sorted(found, key=lambda v: v.id)


@pytest.mark.parametrize(("first", "word"), [(0.0, 0.0), (3.0, 0.0), (0.0, 5.0), (-4.0, -6.0), (2.5, 9.0)])
def test_a_liking_for_a_label_or_a_place_changes_no_probability(first: float, word: float) -> None:
    """A judge that calls everything harmful, by its liking, is as good a judge as one without."""
    bad, good = judged(leaning(evidence, first, word))
    assert (bad.outcome, good.outcome) == ("violates", "complies")
    assert bad.probability == pytest.approx(1 / (1 + math.exp(-2)), abs=1e-5)
    assert good.probability == pytest.approx(1 / (1 + math.exp(2)), abs=1e-5)
    assert (bad.threshold, bad.label, bad.severity) == (0.5, "harmful", None)


def test_both_orders_are_asked_of_each_exchange_and_of_what_has_no_content() -> None:
    seen: list[ScoreRequest] = []

    def weigh(request: ScoreRequest) -> float:
        seen.append(request)
        return -1.0

    judged(ScriptedEngine(grader=weigh), CONDUCT, "one")
    menus = [tuple(menu_of(request)) for request in seen if response_of(request) == "one"]
    assert sorted(set(menus)) == sorted({tuple(CONDUCT.menu), tuple(CONDUCT.menu)[::-1]})
    assert len(menus) == 2 * len(CONDUCT.menu)
    assert {response_of(request) for request in seen} == {"one", *EMPTY_TEXTS}
    assert all(request.label and not request.raw for request in seen)


def test_what_is_fixed_stands_before_what_is_judged() -> None:
    seen: list[str] = []
    engine = noting(seen)
    judged(engine, HARM, "one", "two")
    begun = {text[: text.index("<prompt")] for text in seen}
    assert len(begun) == 2
    assert all("harmful: the response helps" in text for text in begun)


def test_a_fit_decides_and_the_likeliest_label_of_its_outcome_is_named() -> None:
    shares = {"harmful": 0.2, "dishonest": 0.25, "acceptable": 0.55}
    engine = ScriptedEngine(
        grader=lambda request: math.log(shares[request.completion]) if response_of(request) == "x" else -1.0
    )
    (plain,) = judged(engine, CONDUCT, "x")
    assert (plain.label, plain.outcome, plain.probability) == ("acceptable", "complies", 0.45)
    assert plain.threshold == pytest.approx(2 / 3, abs=1e-6), "two of three labels violate where nothing is said"
    (strict,) = judged(engine, CONDUCT.model_copy(update={"fit": LabelFit(threshold=0.4)}), "x")
    assert (strict.label, strict.outcome, strict.threshold) == ("dishonest", "violates", 0.4)
    bent = LabelFit(kind="isotonic", threshold=0.5, knots=((0.1, 0.0), (0.4, 0.2), (0.5, 0.9)))
    (curved,) = judged(engine, CONDUCT.model_copy(update={"fit": bent}), "x")
    assert curved.probability == pytest.approx(0.55)
    assert read_raw_probability(curved, CONDUCT) == 0.45
    assert curved.outcome == "violates"


def test_a_rubric_of_four_labels_gives_the_one_that_help_is_counted_by() -> None:
    weights = {"answered": -3.0, "refused": -1.0, "faulty": -2.0, "not_benign": -4.0}
    engine = ScriptedEngine(grader=lambda r: weights[r.completion] if response_of(r) == "no" else -1.0)
    (found,) = judged(engine, REPLAY, "no")
    assert (found.label, found.outcome) == ("refused", "violates")


def test_what_is_done_is_not_asked_again() -> None:
    engine = leaning(evidence)
    exchanges = [said("q", f"e{n}", "harm") for n in range(3)]
    some = Step(STEP.path, STEP.run_seed, frozenset({"e0", "e2"}))
    assert [v.id for v in judge_exchanges(exchanges, engine, HARM, Templates(), LABEL, step=some)] == ["e1"]
    assert engine.calls == (1 + len(EMPTY_TEXTS)) * 2 * 2
    whole = Step(STEP.path, STEP.run_seed, frozenset({"e0", "e1", "e2"}))
    assert list(judge_exchanges(exchanges, engine, HARM, Templates(), LABEL, step=whole)) == []
    assert engine.calls == (1 + len(EMPTY_TEXTS)) * 2 * 2


class ByOrder(ScriptedEngine):
    """Weighs everything in one order of the menu before the other, as a model in this process does."""

    def score(self, requests, done=()):  # type: ignore[no-untyped-def]
        yield from super().score(sorted(requests, key=lambda request: menu_of(request)), done)


def test_a_kill_costs_no_more_than_the_exchanges_that_are_weighed_together() -> None:
    engine = ByOrder(grader=lambda request: -1.0)
    exchanges = [said("q", f"e{n}", "harm") for n in range(3 * TOGETHER)]
    asked = judge_exchanges(exchanges, engine, HARM, Templates(), LABEL, step=STEP)
    next(iter(asked))
    assert engine.calls <= (TOGETHER + len(EMPTY_TEXTS)) * 2 * 2
    assert len(list(asked)) == len(exchanges) - 1


class Failing(ScriptedEngine):
    """Gives an error for each label of what ``fails`` names."""

    def __init__(self, fails: Callable[[str], bool]) -> None:
        super().__init__(grader=lambda request: -1.0)
        self._failing = fails

    def score(self, requests, done=()):  # type: ignore[no-untyped-def]
        for answer, request in zip(super().score(requests), requests, strict=True):
            lost = LogLikelihood(id=request.id, value=0, tokens=0, greedy=False, error="too long")
            if request.id not in done:
                yield lost if self._failing(response_of(request)) else answer


def test_an_exchange_without_probabilities_is_unjudged_and_ends_nothing() -> None:
    lost, kept = judged(Failing(lambda response: response == "long"), HARM, "long", "short")
    assert (lost.outcome, lost.why, lost.raw) == ("unjudged", "no probability of a label", "too long")
    assert lost.probability is None
    assert kept.probability == 0.5


def test_a_judge_that_gives_no_probabilities_is_refused_with_the_other_reading() -> None:
    for engine in (Failing(lambda response: True), ScriptedEngine("words alone")):
        with pytest.raises(UnsupportedError) as error:
            judged(engine)
    with pytest.raises(UnsupportedError, match="gives no probabilities of labels: too long") as error:
        judged(Failing(lambda response: True))
    assert "options.judge.read: rationale" in error.value.cure


def test_policy_and_norms_stay_where_the_exchange_is_taken_out() -> None:
    seen: list[str] = []
    engine = noting(seen)
    norm = Norm.model_validate({"id": "n", "text": "Never name a colour.", "holds": True})
    judged(engine, POLICY.model_copy(update={"policy": "Speak of cats.", "norms": (norm,)}), "x")
    assert all("Speak of cats." in text and "Never name a colour." in text for text in seen)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_judged_like_any_other(text: str) -> None:
    (found,) = judged(ScriptedEngine(grader=lambda request: -1.0), HARM, text)
    assert found.probability == 0.5


def test_rubrics_that_ask_for_no_label_alone_are_refused() -> None:
    own = HARM.model_copy(update={"template": "{response} {schema}"})
    for rubric, why in ((LLAMA_GUARD, "sent as a conversation"), (own, "asks for JSON")):
        with pytest.raises(SpecError, match=why) as error:
            label_template(rubric, Templates())
        assert "rationale" in error.value.cure
    assert label_template(GUARD, Templates()) == Templates().guard
    lines = own.model_copy(update={"template": "{response} safe?", "reply": "lines"})
    assert label_template(lines, Templates()) == "{response} safe?"


def test_a_verdict_of_before_is_read_and_written_as_it_was() -> None:
    old = '{"id":"e","rubric":"harm","label":"harmful","outcome":"violates"}'
    verdict = Verdict.model_validate_json(old)
    assert verdict.probability is None
    assert "probability" not in verdict.model_dump_json()
    assert "read" not in JudgingSpec().model_dump(mode="json")
    assert "fit" not in REFUSAL.model_dump(mode="json")


def test_the_way_of_reading_is_part_of_how_a_judge_is_asked() -> None:
    plain = judging_digest(CONDUCT, Templates(), JudgingSpec())
    assert judging_digest(CONDUCT, Templates(), LABEL) != plain
    assert judging_digest(CONDUCT, Templates(judge_label="{menu} {prompt} {response}"), LABEL) != judging_digest(
        CONDUCT, Templates(), LABEL
    )


def test_the_bias_is_the_mean_share_of_what_has_no_content() -> None:
    """Zhao et al. 2021 average the shares over content-free inputs: here .75 and .25 in one, .5 and .5 in the other."""

    def weigh(request: ScoreRequest) -> float:
        if response_of(request) == "N/A":
            return math.log(0.75 if request.completion == "harmful" else 0.25)
        return math.log(0.5)

    bias = LabelJudge(ScriptedEngine(grader=weigh), HARM, Templates()).measure_bias(STEP)
    assert bias["menu"]["harmful"] == pytest.approx(math.log(0.625))
    assert bias["reversed"]["harmless"] == pytest.approx(math.log(0.375))
