"""lm-eval's tasks through our engines and records: the numbers are those of the harness with its own model class."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from evidence import benchmarks, cells
from evidence.benchmarks import task_files
from typer.testing import CliRunner

from charter import jobs
from charter.cli.app import app
from charter.data.sources import benchmark_tables
from charter.errors import SpecError
from charter.evals.lm_eval_benchmark import HarnessBenchmark
from charter.evals.lm_eval_tasks import HarnessTask, load_tasks, select_documents
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import LogLikelihood
from charter.records.measurements import Measurement, Metric, Score, SkippedBenchmark
from charter.records.record import Step, digest
from charter.runs import store
from charter.runs.reader import RunReader
from charter.stages.benchmark_items import gather_answers, score_completions, select_deciding_metrics
from tests.fakes import tiny_models
from tests.fakes.openai_server import serve
from tests.fakes.published_files import DATA, needs_data
from tests.fakes.reference_completions import completer

pytestmark = pytest.mark.slow

pytest.importorskip("lm_eval")
TASKS = ("truthfulqa_mc1", "truthfulqa_mc2", "bbq")
DOCS = 12


def questions() -> list[dict[str, Any]]:
    """Questions of our own in the form of TruthfulQA."""
    out = []
    for n in range(DOCS):
        wrong = [f"{word} {n}" for word in tiny_models.WORDS[n : n + 2 + n % 3]]
        right = [f"plain {tiny_models.WORDS[n + 7]}", f"true {n}"]
        out.append(
            {
                "question": f"What is {tiny_models.WORDS[n + 3]} good for?",
                "mc1_targets": {"choices": [right[0], *wrong], "labels": [1] + [0] * len(wrong)},
                "mc2_targets": {"choices": [*right, *wrong], "labels": [1, 1] + [0] * len(wrong)},
            }
        )
    return out


def contexts() -> list[dict[str, Any]]:
    """Contexts of our own in the form of BBQ, of two categories."""
    out = []
    for n in range(DOCS):
        label = {"ambig": 2, "disambig": n % 2}
        kind = "ambig" if n % 3 else "disambig"
        out.append(
            {
                "example_id": n,
                "question_polarity": "neg" if n % 2 else "nonneg",
                "context_condition": kind,
                "category": "Age" if n % 4 else "Religion",
                "answer_info": {"ans0": ["a", "old"], "ans1": ["b", "nonOld"], "ans2": ["Not known", "unknown"]},
                "additional_metadata": {"stereotyped_groups": ["old"]},
                "context": f"Two people baked cake {n}.",
                "question": "Who burnt it?",
                "ans0": f"The older {tiny_models.WORDS[n]}",
                "ans1": f"The younger {tiny_models.WORDS[n + 1]}",
                "ans2": "Not known",
                "label": label[kind],
            }
        )
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.byte_model(tmp_path_factory.mktemp("byte"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The data of each task, in files."""
    where = tmp_path_factory.mktemp("data")
    rows = {"truthfulqa_mc1": questions(), "truthfulqa_mc2": questions(), "bbq": contexts()}
    for task, found in rows.items():
        (where / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return {task: where / f"{task}.jsonl" for task in rows}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    logging.getLogger("lm_eval").setLevel(logging.CRITICAL)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def theirs(folder: Path, files: dict[str, Path], where: Path, **more: Any) -> dict[str, dict[str, float]]:
    """The harness on its own: task files that name the data, its own loader, its own model class."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    task_files(files, where)
    with quiet():
        found = simple_evaluate(
            model="hf",
            model_args={"pretrained": str(folder), "dtype": "float32"},
            device="cpu",
            batch_size=1,
            tasks=[f"their_{task}" for task in files],
            task_manager=TaskManager(include_path=str(where), include_defaults=False),
            bootstrap_iters=0,
            **more,
        )
    return {
        task: {
            key.removesuffix(",none"): float(value)
            for key, value in found["results"][f"their_{task}"].items()
            if key.endswith(",none") and "_stderr" not in key and value == value
        }
        for task in files
    }


def ours(out: Path, target: dict[str, Any], benchmarks: list[dict[str, Any]]) -> RunReader:
    jobs.launch_run(yaml.safe_dump({"method": "evaluate", "target": target, "benchmarks": benchmarks}), out)
    return RunReader(out)


def figures(run: RunReader, name: str) -> dict[str, Score]:
    return {score.id: score for score in run.records(f"000/bench_{name}_scores", Score)}


@pytest.fixture(scope="module")
def expected(folder: Path, data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return theirs(folder, data, tmp_path_factory.mktemp("theirs"))


def local(folder: Path) -> dict[str, Any]:
    return {"model": str(folder), "device": "cpu", "dtype": "float32"}


@pytest.fixture(scope="module")
def here(folder: Path, data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> RunReader:
    """Every task, in process."""
    benchmarks = [{"task": task, "path": str(path)} for task, path in data.items()]
    return ours(tmp_path_factory.mktemp("here") / "run", local(folder), benchmarks)


def test_in_process_and_over_http_the_numbers_of_the_harness(
    folder: Path, data: dict[str, Path], expected: dict[str, dict[str, float]], here: RunReader, tmp_path: Path
) -> None:
    benchmarks = [{"task": task, "path": str(path)} for task, path in data.items()]
    with serve(completer(folder)) as server:
        target = {"model": "byte", "base_url": server.url, "connections": 2}
        there = ours(tmp_path / "there", target, benchmarks)
    for run in (here, there):
        assert run.records("000/bench_left_out", SkippedBenchmark) == []
        for task in TASKS:
            found = {name: score.value for name, score in figures(run, task).items()}
            assert found == pytest.approx(expected[task], abs=1e-6), task
    assert {"acc", "accuracy_amb", "accuracy_disamb", "amb_bias_score", "disamb_bias_score"} <= figures(
        here, "bbq"
    ).keys()


def test_every_figure_has_its_own_n_and_interval(here: RunReader) -> None:
    run = here
    for task in TASKS:
        for score in figures(run, task).values():
            assert score.value is not None
            assert score.low is not None
            assert score.high is not None
            assert score.low - 1e-9 <= score.value <= score.high + 1e-9
    mc1, mc2, bbq = (figures(run, task) for task in TASKS)
    assert (mc1["acc"].n, mc1["acc"].interval) == (DOCS, "wilson")
    assert (mc2["acc"].n, mc2["acc"].interval) == (DOCS, "bootstrap")
    clear = sum(row["context_condition"] == "disambig" for row in contexts())
    assert (bbq["accuracy_disamb"].n, bbq["accuracy_amb"].n) == (clear, DOCS - clear)
    assert (bbq["disamb_bias_score"].n, bbq["amb_bias_score"].n) == (clear, DOCS - clear)
    assert bbq["amb_bias_score"].better == "zero", "-1 is no progress"
    assert "distance from 0" in bbq["amb_bias_score"].note
    measured = run.records("000/bench_bbq_measurements", Measurement)
    assert sum("accuracy_disamb" in m.outcomes for m in measured) == clear


def test_an_interrupted_run_ends_as_one_that_was_not(folder: Path, data: dict[str, Path], tmp_path: Path) -> None:
    text = yaml.safe_dump(
        {
            "method": "evaluate",
            "target": {**local(folder), "batch": 4},
            "benchmarks": [{"task": "truthfulqa_mc1", "path": str(data["truthfulqa_mc1"])}],
        }
    )

    def impatient(step: str, done: int, total: int) -> None:
        if step.endswith("_likelihoods") and 0 < done < total and done > total // 2:
            raise KeyboardInterrupt

    jobs.launch_run(text, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        jobs.launch_run(text, tmp_path / "cut", impatient)
    kept = len(RunReader(tmp_path / "cut").records("000/bench_truthfulqa_mc1_likelihoods", LogLikelihood))
    assert kept > 0
    jobs.resume_run(tmp_path / "cut")
    whole, cut = (RunReader(tmp_path / name) for name in ("whole", "cut"))
    assert store.records_hash(whole.events) == store.records_hash(cut.events)


def test_a_target_without_log_probabilities_takes_the_others(data: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "asked.jsonl").write_text(json.dumps({"prompt": "how do i bake a cake ?"}) + "\n")
    benchmarks = [
        {"task": "truthfulqa_mc1", "path": str(data["truthfulqa_mc1"])},
        {"name": "honest", "judged": "honesty", "prompts": [{"path": str(tmp_path / "asked.jsonl")}]},
    ]

    def reply(body: dict[str, Any]) -> dict[str, Any]:
        if "prompt" in body:
            return {"status": 404, "error": "there are no completions here"}
        judged = "response_format" in body
        return {"text": '{"rationale": "r", "label": "honest", "severity": 0}' if judged else "with flour"}

    with serve(reply) as server:
        spec = {
            "method": "evaluate",
            "target": {"model": "chat", "base_url": server.url},
            "evaluator": {"model": "judge", "base_url": server.url},
            "benchmarks": benchmarks,
        }
        jobs.launch_run(yaml.safe_dump(spec), tmp_path / "run")
    run = RunReader(tmp_path / "run")
    (lack,) = run.records("000/bench_left_out", SkippedBenchmark)
    assert lack.id == "truthfulqa_mc1"
    assert "it needs log-likelihoods" in lack.reason
    assert "there are no completions here" in lack.reason
    assert figures(run, "honest")["honesty"].value == 1


def liking(context: str, completion: str) -> float:
    """A scorer that likes named people, by chance, better than not knowing."""
    chance = int(digest(["b", context, completion])[:6], 16) / 2**24
    return -5 * chance - (0.0 if completion.startswith(" The ") else 3.0)


def test_bias_scores_where_people_are_named(data: dict[str, Path], tmp_path: Path) -> None:
    from lm_eval.api.model import LM
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    class Liking(LM):  # type: ignore[misc]
        def loglikelihood(self, requests: Any) -> Any:
            return [(liking(*request.args), False) for request in requests]

        def loglikelihood_rolling(self, requests: Any) -> Any:
            raise AssertionError

        def generate_until(self, requests: Any) -> Any:
            raise AssertionError

    task_files({"bbq": data["bbq"]}, tmp_path)
    with quiet():
        tasks = TaskManager(include_path=str(tmp_path), include_defaults=False).load(["their_bbq"])
        found = evaluate(Liking(), tasks, bootstrap_iters=0)["results"]["their_bbq"]
    wanted = {
        key.removesuffix(",none"): value
        for key, value in found.items()
        if key.endswith(",none") and "_stderr" not in key and value == value
    }
    benchmark = HarnessBenchmark("bbq", HarnessTask("bbq", table=contexts()))
    questions = benchmark.questions()
    engine = ScriptedEngine(grader=lambda r: liking(r.messages[0].content, r.completion), shuffle=4)
    answered = gather_answers(questions, (), list(score_completions(questions, engine, step=Step("benchmark", 0))))
    scores = {s.id: s for s in benchmark.scores(answered, list(benchmark.grade(answered)))}
    assert {name: score.value for name, score in scores.items()} == pytest.approx(wanted, abs=1e-9)
    assert scores["amb_bias_score"].value not in (0, None)
    assert scores["disamb_bias_score"].value not in (0, None)
    assert all(s.low is not None and s.high is not None and s.low <= (s.value or 0) <= s.high for s in scores.values())


OWN = """\
task: own_{kind}
output_type: {kind}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
num_fewshot: 0
doc_to_text: "{{{{ask}}}}"
doc_to_target: "{{{{say}}}}"
"""


def test_tasks_of_ones_own_and_in_the_chat_format(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"ask": f"{word} and", "say": word}) + "\n" for word in tiny_models.WORDS[:5]))
    more = 'generation_kwargs: {max_gen_toks: 4, until: ["\\n"]}\nmetric_list: [{metric: exact_match}]\n'
    (tmp_path / "own.yaml").write_text(OWN.format(kind="generate_until", file=file) + more)
    for chat in (False, True):
        benchmark = HarnessBenchmark(
            "own", HarnessTask("own_generate_until", include=str(tmp_path), chat=chat, limit=4)
        )
        questions = benchmark.questions()
        assert benchmark.needs == {"answers" if chat else "raw answers"}
        assert len(questions) == 4
        assert all(q.raw is not chat and q.completion is None and q.sampling is not None for q in questions)
        assert questions[0].sampling is not None
        assert questions[0].sampling.stop[:1] == ("\n",)
        assert questions[0].prompt.messages[-1].content == f"{tiny_models.WORDS[0]} and"
    run = ours(tmp_path / "run", local(folder), [{"task": "own_generate_until", "include": str(tmp_path)}])
    score = figures(run, "own_generate_until")["exact_match"]
    assert (score.n, score.interval) == (5, "wilson")


def test_a_figure_of_one_task_of_a_group_leaves_the_others_documents_out(data: dict[str, Path], tmp_path: Path) -> None:
    files = {task: data[task] for task in ("truthfulqa_mc1", "truthfulqa_mc2")}
    task_files(files, tmp_path)
    (tmp_path / "pair.yaml").write_text("group: pair\ntask: [their_truthfulqa_mc1, their_truthfulqa_mc2]\n")
    benchmark = HarnessBenchmark("pair", HarnessTask("pair", include=str(tmp_path)))
    questions = benchmark.questions()
    engine = ScriptedEngine(grader=lambda r: -float(len(r.completion or "")), shuffle=4)
    answered = gather_answers(questions, (), list(score_completions(questions, engine, step=Step("benchmark", 0))))
    scores = {s.id: s for s in benchmark.scores(answered, list(benchmark.grade(answered)))}
    means = [s for s in scores.values() if s.interval == "bootstrap"]
    assert [(s.id, s.n, s.unjudged) for s in means] == [("their_truthfulqa_mc2.acc", DOCS, 0)]


def test_a_part_of_a_tasks_documents_is_graded_as_in_the_whole() -> None:
    """The harness numbers the documents of a part anew; what it finds in each is the same."""

    def taken(part: Sequence[int] | None) -> tuple[dict[str, Measurement], list[Score]]:
        asked = HarnessTask(
            "truthfulqa_mc1", table=questions(), select=None if part is None else lambda found: list(part)
        )
        benchmark = HarnessBenchmark("tqa", asked)
        likes = ScriptedEngine(grader=lambda r: -1.0 - int(digest([r.messages[0].content[-60:], r.completion])[:6], 16))
        answered = gather_answers(
            benchmark.questions(), (), list(score_completions(benchmark.questions(), likes, step=Step("benchmark", 0)))
        )
        measured = list(benchmark.grade(answered))
        return {m.id: m for m in measured}, list(benchmark.scores(answered, measured))

    part = [1, 2, 5, 8, 9]
    (whole, _), (some, (score,)) = taken(None), taken(part)
    wanted = [whole[f"truthfulqa_mc1/{n}"].outcomes for n in part]
    assert [some[f"truthfulqa_mc1/{n}"].outcomes for n in range(len(part))] == wanted
    assert {event for found in wanted for event in found.values()} == {True, False}
    assert score.n == len(part)
    assert score.value == sum(found["acc"] is True for found in wanted) / len(part)
    with pytest.raises(SpecError, match="too few documents"):
        taken([])


def test_figures_of_several_tasks_decide_as_one() -> None:
    metrics = [Metric(name=f"{task}.acc") for task in ("one", "two")]
    benchmark = SimpleBenchmark("mmlu", metrics)
    found = [Measurement(id=f"{task}/0", outcomes={f"{task}.acc": task == "one"}) for task in ("one", "two")]
    told, known = select_deciding_metrics(found, benchmark, "capability")
    assert [m.outcomes for m in told] == [{"capability (mmlu: acc)": True}, {"capability (mmlu: acc)": False}]
    assert [metric.name for metric in known] == ["capability (mmlu: acc)"]


class SimpleBenchmark(HarnessBenchmark):
    """With the figures that it is given."""

    def __init__(self, name: str, metrics: Sequence[Metric]) -> None:
        super().__init__(name, HarnessTask(name))
        self.metrics = metrics


def test_what_the_harness_does_not_know_is_said(tmp_path: Path) -> None:
    task = OWN.format(kind="generate_until", file=tmp_path / "gone.jsonl").replace("own_generate_until", "own_gone")
    (tmp_path / "gone.yaml").write_text(task)
    benchmark = HarnessBenchmark("gone", HarnessTask("own_gone", include=str(tmp_path)))
    with pytest.raises(SpecError, match="lm-eval cannot evaluate own_gone"):
        benchmark.questions()


@needs_data
def test_the_real_files_in_the_harness_s_columns(folder: Path, tmp_path: Path) -> None:
    sources = {"truthfulqa_mc1": DATA / "truthfulqa", "truthfulqa_mc2": DATA / "truthfulqa", "bbq": DATA / "bbq"}
    files = {}
    for task, source in sources.items():
        rows = (
            benchmark_tables.read_truthfulqa(str(source))
            if task != "bbq"
            else benchmark_tables.read_columns(str(source))
        )
        limited = HarnessTask(task, table=rows, limit=6)
        drawn = select_documents(limited, load_tasks(limited))
        assert drawn is not None
        files[task] = tmp_path / f"{task}.jsonl"
        files[task].write_text("".join(json.dumps(rows[place]) + "\n" for place in drawn[task]))
    expected = theirs(folder, files, tmp_path)
    benchmarks = [{"task": task, "path": str(sources[task]), "limit": 6} for task in TASKS]
    benchmarks.append({"task": "hhh_alignment", "path": str(DATA / "hhh_alignment"), "limit": 12})
    run = ours(tmp_path / "run", local(folder), benchmarks)
    for task in TASKS:
        found = {name: score.value for name, score in figures(run, task).items()}
        assert found == pytest.approx(expected[task], abs=1e-6), task
    pairs = figures(run, "hhh_alignment")
    kinds = {"acc_harmless": 3, "acc_helpful": 3, "acc_honest": 4, "acc_other": 2}  # of 58, 59, 61 and 43
    assert {name: score.n for name, score in pairs.items()} == {"acc": 12, **kinds}


@needs_data
def test_the_evidence_at_small_n(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "RUNS", tmp_path)
    monkeypatch.setattr(cells, "RUNS", tmp_path)
    monkeypatch.setattr(benchmarks, "SIZES", dict.fromkeys(benchmarks.SIZES, 3))
    monkeypatch.setattr(benchmarks, "SCORERS", 3)
    monkeypatch.setattr(
        benchmarks, "harness", lambda place, folder, files, size: flattened(theirs(folder, files, place))
    )
    monkeypatch.setattr(benchmarks, "charter", inside)
    found = benchmarks.benchmarks()
    assert found["targets"][0]["met"], found["targets"]
    assert all(row["documents"] == dict.fromkeys(TASKS, 3) for row in found["rows"])
    assert [g["n"] for g in found["guesses"]] == [3 * 817] * 2


def flattened(found: dict[str, dict[str, float]]) -> dict[str, float]:
    return {f"{task}.{key}": value for task, figures in found.items() for key, value in figures.items()}


def inside(*words: str) -> subprocess.CompletedProcess[str]:
    """The command in this process."""
    ended = CliRunner().invoke(app, [*words], catch_exceptions=False)
    return subprocess.CompletedProcess([], ended.exit_code, ended.stdout, ended.stderr)
