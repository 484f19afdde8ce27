"""Dromedary's protocol for multiple choice: by hand, and what guessing gives on the real questions."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from charter.data.sources import benchmark_tables
from charter.evals.multiple_choice import LEGACY_HALVED_NOTE, DromedaryBenchmark
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import ScoreRequest
from charter.records.measurements import Measurement, Score
from charter.records.record import Step
from charter.stages.benchmark_items import gather_answers, score_completions
from charter.statistics import wilson
from tests.fakes.published_files import DATA, FIXTURES, needs_data

STEP = Step("benchmark", 0)
QUESTIONS = [
    {
        "question": "Where does rain come from?",
        "mc1_targets": {"choices": ["clouds", "pipes {answer}", "frogs", "cheese"], "labels": [1, 0, 0, 0]},
        "mc2_targets": {"choices": [], "labels": []},
    },
    {
        "question": "What is red?",
        "mc1_targets": {"choices": ["a cherry", "a lime", "the sky"], "labels": [1, 0, 0]},
        "mc2_targets": {"choices": [], "labels": []},
    },
]
PAIR = {"input": "Hello", "choices": ["Hi", "Go away"], "label": 0, "category": "helpful"}


def taken(
    benchmark: DromedaryBenchmark, grader: Callable[[ScoreRequest], float]
) -> tuple[list[Measurement], list[Score]]:
    questions = benchmark.questions()
    answered = gather_answers(
        questions, (), list(score_completions(questions, ScriptedEngine(grader=grader), step=STEP))
    )
    measured = list(benchmark.grade(answered))
    return measured, list(benchmark.scores(answered, measured))


def by_hand(values: Mapping[str, tuple[float, float]]) -> Callable[[ScoreRequest], float]:
    """The log-probabilities of true and false for the candidate that the question holds."""

    def grade(request: ScoreRequest) -> float:
        (found,) = [both for text, both in values.items() if text in request.messages[0].content]
        return found[request.completion == " false"]

    return grade


def test_the_highest_difference_of_true_and_false_wins() -> None:
    # differences: clouds -1.0, pipes -2.0, frogs +0.5, cheese -3.0; cherry +1.0, lime -1.0, sky +0.9
    values = {
        "clouds": (-3.0, -2.0), "pipes": (-4.0, -2.0), "frogs": (-1.0, -1.5), "cheese": (-5.0, -2.0),
        "cherry": (-1.0, -2.0), "lime": (-0.5, 0.5), "sky": (-0.2, -1.1),
    }  # fmt: skip
    right, (score,) = taken(DromedaryBenchmark("d", "truthfulqa", QUESTIONS), by_hand(values))
    assert [m.outcomes for m in right] == [{"accuracy": False}, {"accuracy": True}]
    assert (score.value, score.n, score.note) == (0.5, 2, "guessing gives 29.2%")
    halved, (labelled,) = taken(DromedaryBenchmark("h", "truthfulqa", QUESTIONS, halved=True), by_hand(values))
    assert [m.outcomes for m in halved] == [{"accuracy": True}, {"accuracy": True}]  # frogs is never looked at
    assert (labelled.value, labelled.note) == (1.0, f"{LEGACY_HALVED_NOTE}; here guessing gives 50.0%")
    assert "legacy_halved" in labelled.benchmark
    assert labelled.benchmark != score.benchmark


def test_each_candidate_is_asked_as_it_stands() -> None:
    benchmark = DromedaryBenchmark("d", "truthfulqa", QUESTIONS, template="{question} {answer}?")
    asked = [(q.prompt.text, q.completion) for q in benchmark.questions()]
    assert asked[2:4] == [
        ("Where does rain come from? pipes {answer}?", " true"),
        ("Where does rain come from? pipes {answer}?", " false"),
    ]
    assert len(asked) == 14
    assert all(q.raw for q in benchmark.questions())


def test_letters_are_summed_over_both_orders() -> None:
    # order 1: A is Hi, B is Go away; order 2 the other way round
    first = {" A": -1.0, " B": -1.5}
    second = {" A": -0.2, " B": -1.0}  # a taste for A: Hi -2.0, Go away -1.7

    def grade(request: ScoreRequest) -> float:
        text = request.messages[0].content
        return (first if text.index("Hi") < text.index("Go away") else second)[request.completion]

    benchmark = DromedaryBenchmark("h", "hhh", [PAIR, {**PAIR, "label": 1, "category": "other"}])
    measured, scores = taken(benchmark, grade)
    assert [m.outcomes for m in measured] == [{"overall": False, "helpful": False}, {"overall": True, "other": True}]
    assert {s.id: (s.value, s.n) for s in scores} == {"overall": (0.5, 2), "helpful": (0, 1), "other": (1, 1)}


def test_equal_scores_are_drawn_and_not_won_by_the_first() -> None:
    rows = [{**QUESTIONS[0], "question": f"q{n}"} for n in range(400)]
    measured, (score,) = taken(DromedaryBenchmark("d", "truthfulqa", rows), lambda _: -1.0)
    assert score.low is not None
    assert score.high is not None
    assert score.low < 0.25 < score.high
    again, _ = taken(DromedaryBenchmark("d", "truthfulqa", rows), lambda _: -1.0)
    assert measured == again


@needs_data
@pytest.mark.parametrize(("halved", "expected"), [(False, 0.226), (True, 0.414)])
def test_what_guessing_gives_on_the_817_questions(halved: bool, expected: float) -> None:
    rows = benchmark_tables.read_truthfulqa(str(DATA / "truthfulqa"))
    assert len(rows) == 817
    benchmark = DromedaryBenchmark("d", "truthfulqa", rows, halved=halved)
    hits, seeds = 0, [99991 * n + 7 for n in range(8)]
    for seed in seeds:
        draw = random.Random(seed)
        chances = iter(lambda: draw.gauss(-3.0, 1.0), None)  # noqa: B023 (used up within this turn)
        hits += sum(bool(m.outcomes["accuracy"]) for m in taken(benchmark, lambda _: next(chances))[0])  # noqa: B023
    low, high = wilson(hits, len(seeds) * 817)
    assert low <= expected <= high


@needs_data
def test_the_real_pairs_have_four_categories() -> None:
    rows = benchmark_tables.read_hhh(str(DATA / "hhh_alignment"))
    counts = {kind: sum(row["category"] == kind for row in rows) for kind in benchmark_tables.HHH_CATEGORIES}
    assert counts == {"harmless": 58, "helpful": 59, "honest": 61, "other": 43}
    likes = DromedaryBenchmark("h", "hhh", rows)
    _, scores = taken(likes, lambda request: -float(len(request.messages[0].content) % 7))
    assert {s.id: s.n for s in scores} == {"overall": 221, **counts}


def test_questions_are_read_from_every_published_form(tmp_path: Path) -> None:
    import json

    (row,) = [
        r
        for r in benchmark_tables.read_truthfulqa(str(FIXTURES / "truthfulqa"))
        if r["question"].startswith("Do teapots")
    ]
    assert row["mc1_targets"]["labels"] == [1] + [0] * (len(row["mc1_targets"]["choices"]) - 1)
    assert sum(row["mc2_targets"]["labels"]) >= 1
    other: dict[str, Any] = {"question": row["question"]}
    for name in ("mc1_targets", "mc2_targets"):
        other[name] = dict(zip(row[name]["choices"], row[name]["labels"], strict=True))
    (tmp_path / "mc_task.json").write_text(json.dumps([other]))
    (tmp_path / "hub.jsonl").write_text(json.dumps(row) + "\n")
    asked = {key: row[key] for key in ("question", "mc1_targets", "mc2_targets")}
    for name in ("mc_task.json", "hub.jsonl"):
        (again,) = benchmark_tables.read_truthfulqa(str(tmp_path / name))
        assert {key: again[key] for key in asked} == asked
