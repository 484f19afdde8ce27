"""What a method does with benchmarks: before and after, beside the starting model, in styles, and after a stop."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from charter.attacks.encodings import EncodedAttack
from charter.attacks.model_written import EscalationAttack
from charter.errors import StoreError
from charter.evals.model_graded import JudgeSetup, PairwiseBenchmark, RubricBenchmark
from charter.methods.benchmark_evaluation import run_benchmarks
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.ports import Attack, Benchmark, BenchmarkSuite, Engine
from charter.records.chat import Completion, Exchange, Request, Sampling, user_prompt
from charter.records.measurements import Score, SkippedBenchmark
from charter.records.model_refs import ModelRef
from charter.records.templates import Templates
from charter.reports.benchmark_figures import BREAKDOWN_KEYS, benchmark_tables, read_figures, unjudged_text
from charter.reports.explanation import explain_item
from charter.runs import Run, store
from charter.runs.reader import RunReader
from charter.spec import JudgingSpec
from charter.statistics import BreakdownCell, mcnemar, smallest_detectable_change, wilson

START = ModelRef(base="start", base_digest="d", digest="start")
POLICY = START.model_copy(update={"digest": "policy", "adapter": "a"})
PROMPTS = [user_prompt(f"what is thing {n} ?", category="even" if n % 2 == 0 else "odd") for n in range(8)]
SPEC = "method: evaluate\nbenchmarks: [{judged: honesty, prompts: [{path: x}]}]\nworld: village\n"


def answer(model: str) -> ScriptedEngine:
    """The policy is better than the start on even things, the same on thing 7, and refuses nothing."""

    def say(request: Request) -> str:
        number = next((n for n in range(8) if f"thing {n}" in request.messages[0].content), 0)
        better = model == "policy" and number % 2 == 0
        return "a good answer" if better or number == 7 else f"an answer by {model}"

    return ScriptedEngine(say, model)


def label(request: Request) -> str:
    """Prefers the good answer; where neither is good, what stands first. Good answers are honest."""
    assert request.response_schema is not None
    text, menu = request.messages[-1].content, request.response_schema["properties"]["label"]["enum"]
    if "first" in menu:
        good = text.find("a good answer")
        second = text.find("<second")
        return json.dumps({"rationale": "r", "label": "second" if good > second else "first"})
    if "message" in request.response_schema["properties"]:
        return "{}"
    kind = "honest" if "honest" in menu else "harmless"
    return json.dumps({"rationale": "r", "label": kind if "a good answer" in text else menu[0], "severity": 0})


def suite(stop_after: int | None = None) -> BenchmarkSuite:
    told = ScriptedEngine(label, "judge", shuffle=2)
    judge = JudgeSetup(told, Templates(), JudgingSpec(retries=0))

    @contextmanager
    def target(policy: ModelRef) -> Iterator[Engine]:
        engine = answer(policy.digest)
        if stop_after is not None:
            engine = Stopping(engine, stop_after)
        yield engine

    attacker = ScriptedEngine(
        lambda r: json.dumps({"message": f"once more: {r.messages[-1].content[-40:]}"}), "attacker"
    )
    styles: dict[str, Attack] = {
        "base64": EncodedAttack("base64"),
        "escalation": EscalationAttack("escalation", attacker, Templates(), 2),
    }
    benchmarks: list[Benchmark] = [
        RubricBenchmark("honest", "honesty", PROMPTS, judge),
        RubricBenchmark("harm", "harmlessness", PROMPTS[:3], judge, ("plain", "base64", "escalation")),
        PairwiseBenchmark("help", PROMPTS, judge),
    ]
    return BenchmarkSuite(target, benchmarks, styles)


class Stopping(ScriptedEngine):
    """Stops in the middle of an answer's way."""

    def __init__(self, inner: ScriptedEngine, after: int) -> None:
        super().__init__(inner._answer, inner.identity)
        self._after = after

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        """So many answers, then an interrupt."""
        for place, found in enumerate(super().generate(requests, done)):
            if place >= self._after:
                raise KeyboardInterrupt
            yield found


def examined(directory: Path) -> RunReader:
    with Run.create(directory, spec_text=SPEC) as run:
        finish(run)
    return RunReader(directory)


def finish(run: Run, stop_after: int | None = None) -> None:
    for folder, policy in (("000", START), ("final", POLICY)):
        run_benchmarks(run.steps(folder), policy, START, suite(stop_after), Sampling(max_tokens=8))


def test_figures_before_and_after_on_the_same_items(tmp_path: Path) -> None:
    run = examined(tmp_path / "run")
    figures = {(f.benchmark, f.name): f for f in read_figures(run)}
    honest = figures["honest", "honesty"]
    assert honest.before is not None
    assert honest.after is not None
    assert (honest.before.value, honest.after.value) == (1 / 8, 5 / 8)
    assert (honest.gained, honest.lost) == (4, 0)
    assert honest.p == pytest.approx(0.125)
    assert honest.p_holm is not None
    assert honest.p_holm >= 0.125
    assert honest.change == 0.5
    assert honest.low is not None
    assert honest.high is not None
    assert 0.0 < honest.low + 0.1 < 0.5 < honest.high < 1.0
    assert [lack.id for lack in run.records("000/bench_left_out", SkippedBenchmark)] == ["help"]
    wins = {name: figures["help", name] for name in ("wins", "ties", "losses", "win_rate")}
    assert all(f.before is None for f in wins.values())
    values = {name: f.after.value for name, f in wins.items() if f.after is not None}
    # even things won; odd ones follow the place, and thing 7 is the same: ties
    assert values == {"wins": 0.5, "ties": 0.5, "losses": 0.0, "win_rate": 0.75}


def test_every_style_is_asked_and_several_turns_are_taken(tmp_path: Path) -> None:
    run = examined(tmp_path / "run")
    exchanges = run.records("final/bench_harm_exchanges", Exchange)
    styles = [e.prompt.meta.get("attack", "plain") for e in exchanges]
    assert {style: styles.count(style) for style in styles} == {"plain": 3, "base64": 3, "escalation": 3}
    talks = [e.prompt for e in exchanges if e.prompt.meta.get("attack") == "escalation"]
    assert all([m.role for m in talk.messages] == ["user", "assistant", "user"] for talk in talks)
    (harm,) = [f for f in read_figures(run) if f.benchmark == "harm"]
    assert harm.score.n == 9
    assert harm.before is not None
    assert (harm.before.value, harm.before.low, harm.before.high) == pytest.approx((0.0, *wilson(0, 3))), (
        "nine answers to three prompts are not nine prompts"
    )
    cells = {(c.by, c.group): c for c in run.records("final/bench_harm_cells", BreakdownCell)}
    assert {group: cell.n for (by, group), cell in cells.items() if by == "attack"} == {
        "plain": 3,
        "base64": 3,
        "escalation": 3,
    }
    assert {cell.interval for (by, _), cell in cells.items() if by == "attack"} == {"wilson"}
    assert (cells["category", "even"].n, cells["category", "even"].interval) == (6, "wilson")


def test_the_styles_of_a_prompt_are_one_in_a_comparison(tmp_path: Path) -> None:
    """Nine answers to three prompts are three prompts, however much they changed."""
    run = examined(tmp_path / "run")
    (harm,) = [f for f in read_figures(run) if f.benchmark == "harm"]
    assert harm.change == pytest.approx(8 / 9)
    assert (harm.gained, harm.lost) == (8, 0)
    assert harm.p is not None
    assert harm.p != mcnemar(8, 0)
    assert harm.detectable == smallest_detectable_change(3)


def test_the_tables_show_the_change_the_unjudged_and_the_languages(tmp_path: Path) -> None:
    run = examined(tmp_path / "run")
    tables = dict(benchmark_tables(run))
    (title,) = [title for title in tables if title.startswith("Benchmarks, with")]
    assert tables[title][0][4:6] == ("n", "unjudged")
    assert any(row[0] == "honest" and "+0.500 (" in row[6] for row in tables[title])
    score = Score(id="s", value=0.5, n=6, low=0.2, high=0.8, unjudged=2)
    assert unjudged_text(score) == "2: 0.375 to 0.625"
    assert "language" in BREAKDOWN_KEYS


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = examined(tmp_path / "whole")
    with Run.create(tmp_path / "cut", spec_text=SPEC) as run, pytest.raises(KeyboardInterrupt):
        finish(run, 5)
    with Run.open(tmp_path / "cut") as run:
        finish(run)
    assert store.records_hash(RunReader(tmp_path / "cut").events) == store.records_hash(whole.events)


def test_a_mean_has_no_threads_and_that_is_said(tmp_path: Path) -> None:
    run = examined(tmp_path / "run")
    with pytest.raises(StoreError, match="win_rate is a mean over items"):
        explain_item(run.directory, "score", "win_rate")
