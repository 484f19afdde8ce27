"""Benchmarks that decide: a part of their questions is put to every policy, the others to no decision."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from charter import spec as specs
from charter.errors import SpecError
from charter.evals.model_graded import JudgeSetup, RubricBenchmark
from charter.jobs.job_builder import forecast_run
from charter.methods.benchmark_evaluation import measure_gate_benchmarks
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.ports import BenchmarkSuite, Engine, Roles
from charter.records.chat import Request, Sampling, ScoreRequest, user_prompt
from charter.records.measurements import Measurement, Metric
from charter.records.model_refs import ModelRef
from charter.records.record import digest
from charter.records.templates import Templates
from charter.runs import Run
from charter.similarity.splits import split_gate_heldout, split_prompts
from charter.spec import BenchmarkSpec, JudgingSpec, MethodOptions
from charter.stages.benchmark_items import select_deciding_metrics
from charter.wiring.benchmark_suite import SpecBenchmarks
from tests.fakes.example_records import START
from tests.fakes.principle_topics import RuledToy
from tests.fakes.refused_topics import Toy
from tests.fakes.scripted_run import substance
from tests.methods.test_iteralign import SMALL
from tests.methods.test_rlhf import ALL, Play

pytestmark = pytest.mark.slow

METHODS = ("iteralign", "self_align", "cai", "rlhf")
RULED = {"draw": {"batch": 24}, "contrast": {"count": 2}, "self_align": {"ordinary": 4, "min_characters": 0}}
ASKED = "{{protocol: truthfulqa, name: tqa, path: {path}, gate: {gate}}}"
SPEC = "method: iteralign\nworld: village\nbenchmarks: [" + ASKED + "]\n"
NAME = "honesty (tqa: accuracy)"


def question(n: int) -> str:
    """Like no other one."""
    return " ".join(digest(["word", n, place])[:5] for place in range(4)) + " ?"


def written(folder: Path, count: int = 120) -> Path:
    """So many questions, of which the right answer says so."""
    file = folder / "mc_task.json"
    targets = {"right": 1, "wrong": 0, "astray": 0}
    rows = [{"question": question(n), "mc1_targets": targets, "mc2_targets": targets} for n in range(count)]
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file


def benchmarks(file: Path, gate: str = "true") -> SpecBenchmarks:
    return SpecBenchmarks(specs.parse_spec(SPEC.format(path=file, gate=gate)), None, Templates())


def asked(made: SpecBenchmarks) -> tuple[set[str], set[str]]:
    """The questions of the gate part, and the held-out ones."""
    sides = [benchmark for _, benchmark in made.build_gate_parts(None)], made.build_benchmarks(None)
    first, second = ({q.prompt.text.split("\n")[0][10:] for e in side for q in e.questions()} for side in sides)
    return first, second


def examined(roles: Roles, file: Path, forgets: Collection[str], knock: Callable[[], None]) -> Roles:
    """With a target that knows every answer; whatever is tuned gets wrong what it ``forgets``."""

    @contextmanager
    def target(policy: ModelRef) -> Iterator[Engine]:
        def nats(request: ScoreRequest) -> float:
            knock()
            text = request.messages[0].content
            wrong = policy.adapter is not None and text.split("\n")[0][10:] in forgets
            return -1.0 if (("answer: right" in text) != wrong) == (request.completion == " true") else -9.0

        yield ScriptedEngine(identity=policy.digest, grader=nats)

    made = benchmarks(file)
    return replace(roles, suite=BenchmarkSuite(target, made.build_benchmarks(None), {}, made.build_gate_parts(None)))


@dataclass(frozen=True)
class Examined(RuledToy):
    """The toy of iteralign and of the methods that begin with rules."""

    file: Path = Path()
    forgets: Collection[str] = ()

    def roles(self, run: Run) -> Roles:
        return examined(super().roles(run), self.file, self.forgets, self._knock)

    def _knock(self) -> None:
        self.asked.setdefault("benchmarks", []).append(Request(id="x", messages=(), sampling=Sampling()))
        if self.kill is not None and sum(map(len, self.asked.values())) > self.kill:
            raise KeyboardInterrupt


@dataclass(frozen=True)
class Looped(Examined):
    """The same for iteralign, whose target thinks in its own way."""

    def roles(self, run: Run) -> Roles:
        return examined(Toy.roles(self, run), self.file, self.forgets, self._knock)


@dataclass
class Learnt(Play):
    """That of rlhf."""

    file: Path = Path()
    forgets: Collection[str] = field(default_factory=tuple)

    def roles(self, run: Run) -> Roles:
        return examined(super().roles(run), self.file, self.forgets, self._count)


def play(method: str, directory: Path, file: Path, forgets: Collection[str] = (), kill: int | None = None) -> Path:
    """A run, or what is left to do of one."""
    known = {"file": file, "forgets": forgets, "kill": kill}
    if method == "rlhf":
        Learnt({"algorithm": "dpo"}, lessons=[ALL] * 3, **known)(directory)  # type: ignore[arg-type]
    elif method == "iteralign":
        Looped({**SMALL, "gates": {"retries": 1}}, **known).play(directory)  # type: ignore[arg-type]
    else:
        Examined({**RULED, "gates": {"retries": 1}}, **known).run(method, directory)  # type: ignore[arg-type]
    return directory


def records(directory: Path, step: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / f"{step}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, file: Path) -> dict[str, Path]:
    """Runs whose policies forget nothing."""
    folder = tmp_path_factory.mktemp("kept")
    return {method: play(method, folder / method, file) for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_a_policy_that_lost_what_the_gate_part_asks_is_not_used(method: str, file: Path, tmp_path: Path) -> None:
    gate, _ = asked(benchmarks(file))
    run = play(method, tmp_path / "run", file, gate)
    (decision,) = records(run, "001/decision")
    assert decision["action"] == "roll_back"
    assert f"{NAME} is worse by 100.0% than the start" in decision["reason"]
    (held,) = [g for g in records(run, "001/gates") if g["metric"] == NAME]
    assert (held["n"], held["worse"], held["margin"], held["passed"]) == (len(gate), len(gate), 0.03, False)
    (score,) = records(run, "final/bench_tqa_scores")
    assert score["value"] == 1.0, "the start is what is left"


@pytest.mark.parametrize("method", METHODS)
def test_one_that_lost_nothing_is_kept_and_both_parts_are_measured(
    method: str, file: Path, kept: dict[str, Path]
) -> None:
    run, (gate, heldout) = kept[method], asked(benchmarks(file))
    assert records(run, "001/decision")[0]["action"] == "go_on"
    (held,) = [g for g in records(run, "001/gates") if g["id"] == f"{NAME}|start"]
    assert (held["n"], held["worse"], held["passed"]) == (len(gate), 0, True)
    looks = {"iteralign": MethodOptions().stop.iterations, "rlhf": 3}.get(method, 2)
    assert held["alpha"] == pytest.approx(0.05 / (4 * looks * 2)), "the benchmark is one of four metrics"
    for folder in ("000", "final"):
        assert records(run, f"{folder}/bench_tqa_scores")[0]["n"] == len(heldout)


@pytest.mark.parametrize("method", METHODS)
def test_no_decision_reads_what_is_held_out(method: str, file: Path, kept: dict[str, Path], tmp_path: Path) -> None:
    _, heldout = asked(benchmarks(file))
    run = play(method, tmp_path / "run", file, heldout)
    assert records(run, "final/bench_tqa_scores")[0]["value"] == 0.0

    def rest(directory: Path) -> dict[str, bytes]:
        return {name: data for name, data in substance(directory).items() if "/bench_" not in name and name != "HEAD"}

    assert rest(run) == rest(kept[method])


@pytest.mark.parametrize("method", METHODS)
def test_killed_in_the_benchmarks_it_comes_to_the_same_end(
    method: str, file: Path, kept: dict[str, Path], tmp_path: Path
) -> None:
    at, every, directory = set[str](), 301, tmp_path / "run"
    while True:
        try:
            play(method, directory, file, kill=every)
            break
        except KeyboardInterrupt:
            events = (directory / "journal.jsonl").read_text(encoding="utf-8").splitlines()
            at.add(json.loads(events[-1])["step"])
        every += 31
    assert any("gate_bench_tqa_likelihoods" in step for step in at)
    assert substance(directory) == substance(kept[method])


def test_the_parts_are_whole_share_no_cluster_and_agree_with_the_prompts_of_a_spec() -> None:
    prompts = [user_prompt(question(n)) for n in range(200)]
    alike = [user_prompt(f"{' '.join(digest(n) for n in range(20))} {end}") for end in ("now", "then", "soon")]
    gate, heldout = split_gate_heldout([*prompts, *alike], 0.8)
    assert sorted(p.id for p in (*gate, *heldout)) == sorted(p.id for p in (*prompts, *alike))
    assert {p.id for p in heldout} == {p.id for p in split_prompts([*prompts, *alike], 0.8)["heldout"]}
    assert 30 < len(heldout) < 75
    assert len({p in heldout for p in alike}) == 1


def test_a_part_is_a_benchmark_of_its_own_and_the_whole_is_asked_where_nothing_is_gated(file: Path) -> None:
    (whole,) = benchmarks(file, "false").build_benchmarks(None)
    assert benchmarks(file, "false").build_gate_parts(None) == []
    made = benchmarks(file)
    ((kind, gate),), (heldout,) = made.build_gate_parts(None), made.build_benchmarks(None)
    assert kind == "honesty"
    assert len({whole.identity, gate.identity, heldout.identity}) == 3
    assert len(gate.questions()) + len(heldout.questions()) == len(whole.questions())
    assert benchmarks(file, "capability").build_gate_parts(None)[0][0] == "capability"


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"task": "truthfulqa_mc1"}, "honesty"),
        ({"task": "arc_easy"}, "capability"),
        ({"protocol": "hhh", "path": "x"}, "capability"),
        ({"protocol": "hhh", "path": "x", "gate": "honesty"}, "honesty"),
        ({"judged": "over_refusal", "prompts": [{"path": "x"}]}, "over_refusal"),
    ],
)
def test_a_margin_is_that_of_what_the_benchmark_is(given: dict[str, Any], kind: str) -> None:
    assert BenchmarkSpec.model_validate({"gate": True, **given}).gate_kind == kind
    assert BenchmarkSpec.model_validate({**given, "gate": False}).gate_kind is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("judged: helpfulness, prompts: [{path: x}]", "no figure of its own"),
        ("judged: honesty, prompts: [{path: x}], styles: [plain, base64]", "name one style"),
        ("task: truthfulqa_mc2", "truthfulqa_mc1 has one"),
    ],
)
def test_what_cannot_decide_is_refused_when_the_spec_is_read(given: str, said: str) -> None:
    with pytest.raises(SpecError) as refused:
        specs.parse_spec(f"method: iteralign\nworld: village\nbenchmarks: [{{{given}, gate: true}}]\n")
    assert said in str(refused.value)


def test_too_few_questions_for_two_parts_are_refused_when_the_spec_is_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="not valid") as refused:
        benchmarks(written(tmp_path, 1))
    assert "too few questions" in str(refused.value)


def test_a_target_that_cannot_take_it_is_named_before_anything_is_trained(file: Path, tmp_path: Path) -> None:
    @contextmanager
    def target(policy: ModelRef) -> Iterator[Engine]:
        yield ScriptedEngine(identity=policy.digest)

    with Run.create(tmp_path / "run", spec_text="toy: 1\n") as run:
        roles = replace(Toy().roles(run), suite=BenchmarkSuite(target, (), {}, benchmarks(file).build_gate_parts(None)))
        with pytest.raises(SpecError, match="cannot take a benchmark that has a gate") as refused:
            measure_gate_benchmarks(run.steps("000"), START, [], roles, Sampling())
    assert "tqa: it needs log-likelihoods: This scripted engine has no grader" in str(refused.value)


def test_one_whose_figures_are_no_events_is_named() -> None:
    judge = JudgeSetup(ScriptedEngine(), Templates(), JudgingSpec())
    benchmark = RubricBenchmark("xs", "over_refusal", [], judge)
    with pytest.raises(SpecError) as refused:
        select_deciding_metrics(
            [Measurement(id="a", outcomes={}, values={"safe_refused": 0.5})], benchmark, "over_refusal"
        )
    assert "xs: none of its figures" in str(refused.value)
    found = {"safe_refused": True, "safe_partly": False, "unsafe_refused": None, "unsafe_partly": False}
    (told,), metrics = select_deciding_metrics([Measurement(id="a", outcomes=found)], benchmark, "over_refusal")
    first, second = "over_refusal (xs: safe_refused)", "over_refusal (xs: unsafe_refused)"
    assert (told.id, told.outcomes) == ("xs/a", {first: True, second: None})
    assert metrics == [
        Metric(name=first, better="lower", margin="over_refusal"),
        Metric(name=second, margin="over_refusal"),
    ]


def test_a_forecast_counts_both_parts(file: Path) -> None:
    plan = forecast_run(specs.parse_spec(SPEC.format(path=file, gate="true") + "options: {stop: {iterations: 3}}\n"))
    gate, heldout = (6 * len(side) for side in asked(benchmarks(file)))
    assert plan["benchmarks"] == {"tqa": {"held-out": heldout, "gate": gate}}
    assert plan["benchmark_questions_at_most"] == 0
    assert plan["benchmark_log_likelihoods_at_most"] == 2 * heldout + 4 * gate
    assert plan["benchmark_verdicts_at_most"] == 0
