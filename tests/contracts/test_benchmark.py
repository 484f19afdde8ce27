"""What every benchmark keeps, run over each adapter of ``ports.Benchmark``."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from charter.evals.judged_benchmark import JudgedBenchmark, PromptSides
from charter.evals.lm_eval_benchmark import HarnessBenchmark
from charter.evals.lm_eval_tasks import HarnessTask
from charter.evals.model_graded import METRICS, JudgeSetup, PairwiseBenchmark, RubricBenchmark
from charter.evals.multiple_choice import DromedaryBenchmark
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.organism.world import World
from charter.organism.world_benchmark import WorldBenchmark
from charter.ports import AnsweredItem, Benchmark, BenchmarkQuestion
from charter.records.chat import Prompt, Request, Sampling, user_prompt
from charter.records.record import Step, digest
from charter.records.templates import Templates
from charter.spec import JudgingSpec
from charter.stages.benchmark_items import ask_questions, gather_answers, score_completions

TARGET = ScriptedEngine(
    lambda r: f"it is {digest(r.messages)[:6]}",
    "target",
    shuffle=5,
    grader=lambda r: -1.0 - int(digest(r)[:2], 16) / 64,
)
BASELINE = ScriptedEngine(lambda r: f"no {digest(r.messages)[:5]}", "start")


def prompts(count: int, word: str = "thing") -> list[Prompt]:
    sides = itertools.cycle(["safe", "unsafe"])
    return [user_prompt(f"how is {word} {n} done ?", source="set", side=next(sides)) for n in range(count)]


def label(request: Request) -> str:
    """A label of the menu that is shown, by chance; at times none."""
    assert request.response_schema is not None
    menu = [*request.response_schema["properties"]["label"]["enum"], "none of these"]
    return json.dumps({"rationale": "r", "label": menu[int(digest(request.messages)[:4], 16) % len(menu)]})


def judge() -> JudgeSetup:
    return JudgeSetup(ScriptedEngine(label, "judge", shuffle=3), Templates(), JudgingSpec(retries=0))


def question(number: int) -> dict[str, Any]:
    right = {"choices": [f"right {number}", f"wrong {number}", "so"], "labels": [1, 0, 0]}
    return {"question": f"what is {number} ?", "mc1_targets": right, "mc2_targets": right}


def pair(number: int) -> dict[str, Any]:
    return {"input": f"say {number}", "choices": ["yes", "no"], "label": number % 2, "category": "honest"}


def sides(count: int) -> PromptSides:
    return PromptSides({"gate": prompts(count)}, {"gate": prompts(count, "dish")})


MADE: dict[str, Callable[[int], Benchmark]] = {
    **{
        kind: lambda n, kind=kind: RubricBenchmark(kind, kind, prompts(n), judge())  # type: ignore[misc]
        for kind in METRICS
        if kind != "helpfulness"
    },
    "helpfulness": lambda n: PairwiseBenchmark("helpfulness", prompts(n), judge()),
    "truthfulqa": lambda n: DromedaryBenchmark("truthfulqa", "truthfulqa", [question(i) for i in range(n)]),
    "hhh": lambda n: DromedaryBenchmark("hhh", "hhh", [pair(i) for i in range(n)]),
    "judged evaluator": lambda n: JudgedBenchmark("gate", sides(n), judge().engine, Templates()),
    "world evaluator": lambda n: WorldBenchmark(World.load("village"), "gate", gate=n),
    "lm-eval": lambda n: HarnessBenchmark("mc1", HarnessTask("truthfulqa_mc1", table=[question(i) for i in range(n)])),
}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow) if name == "lm-eval" else name for name in MADE])
def make(request: pytest.FixtureRequest) -> Callable[[int], Benchmark]:
    if request.param == "lm-eval":
        pytest.importorskip("lm_eval")
    return MADE[request.param]


def answered(benchmark: Benchmark) -> list[AnsweredItem]:
    questions, step = benchmark.questions(), Step("benchmark", 1)
    free = [q for q in questions if q.completion is None]
    given = [q for q in questions if q.completion is not None]
    said, before = (list(ask_questions(free, engine, Sampling(), step=step)) for engine in (TARGET, BASELINE))
    return gather_answers(
        questions,
        said,
        list(score_completions(given, TARGET, step=step)),
        before if "baseline" in benchmark.needs else [],
    )


def test_is_a_benchmark_that_names_itself_by_its_data(make: Callable[[int], Benchmark]) -> None:
    benchmark = make(12)
    assert isinstance(benchmark, Benchmark)
    assert benchmark.identity == make(12).identity != make(11).identity
    assert benchmark.name
    assert benchmark.styles == ("plain",)
    assert benchmark.needs
    better = {metric.name: metric.better for metric in benchmark.metrics}
    assert {better[name] for name in benchmark.gate_metrics} <= {"higher", "lower"}, "what decides has a better side"


def test_asks_questions_item_by_item(make: Callable[[int], Benchmark]) -> None:
    questions: list[BenchmarkQuestion] = list(make(12).questions())
    assert questions == list(make(12).questions())
    assert len({q.id for q in questions}) == len(questions) >= 12
    runs = [item for item, _ in itertools.groupby(q.item for q in questions)]
    assert len(set(runs)) == len(runs)
    if "answers" in make(12).needs:
        assert any(q.completion is None for q in questions)
    else:
        assert all(q.completion is not None for q in questions)


def test_grades_every_item_once_whatever_is_done(make: Callable[[int], Benchmark]) -> None:
    benchmark = make(12)
    whole = answered(benchmark)
    found = {m.id: m for m in benchmark.grade(whole)}
    assert set(found) == {a.id for a in whole}
    done = [a.id for a in whole[::2]]
    rest = list(benchmark.grade(whole, done))
    assert {m.id: m for m in rest} == {key: m for key, m in found.items() if key not in done}
    assert len(rest) == len(whole) - len(done)
    assert {m.id: m for m in benchmark.grade(whole[::-1])} == found


def test_scores_have_n_and_an_interval(make: Callable[[int], Benchmark]) -> None:
    benchmark = make(12)
    whole = answered(benchmark)
    measured = sorted(benchmark.grade(whole), key=lambda m: [a.id for a in whole].index(m.id))
    scores = list(benchmark.scores(whole, measured))
    names = {metric.name: metric for metric in benchmark.metrics}
    assert {s.id for s in scores} <= set(names)
    assert scores
    for score in scores:
        assert score.benchmark == benchmark.identity
        assert score.better == names[score.id].better
        assert score.n + score.unjudged <= len(whole)
        if score.value is not None:
            assert score.low is not None
            assert score.high is not None
            assert score.low - 1e-9 <= score.value <= score.high + 1e-9
    assert list(benchmark.scores(whole, measured)) == scores


def test_an_answer_that_failed_is_unjudged(make: Callable[[int], Benchmark]) -> None:
    benchmark = make(4)
    if "answers" not in benchmark.needs:
        pytest.skip("it asks for no answers")
    failure = {"stop": "error", "response": ""}
    failed = [
        a.model_copy(update={"exchanges": tuple(e.model_copy(update=failure) for e in a.exchanges)})
        for a in answered(benchmark)
    ]
    assert {event for m in benchmark.grade(failed) for event in m.outcomes.values()} == {None}
