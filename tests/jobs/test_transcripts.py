"""Transcripts as logs of Inspect AI that its own reader reads, whatever their texts; scores as CSV."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from inspect_ai.log import EvalSample, read_eval_log
from inspect_ai.model import ChatMessageBase

from charter import cli
from charter.errors import StoreError
from charter.jobs import write_csv, write_inspect
from charter.records.chat import Exchange, Message, Prompt, Sampling
from charter.records.measurements import Measurement, Score
from charter.records.record import Step
from charter.records.revisions import Revision
from charter.records.verdicts import Verdict
from charter.reports.score_table import COLUMNS, scores_to_csv
from charter.runs import Run
from charter.runs.reader import RunReader
from charter.statistics import BreakdownCell
from tests.fakes.recorded_run import SPEC, give

HOSTILE = (
    "<script>alert(1)</script> & \"quotes\" 'here' \\ {{7*7}} {% x %}",
    "<think>hidden</think> shown <internal>eyJhIjoxfQ==</internal>",
    "\x00\x01\x1b[31m red \x1b]0;title\x07 \x7f\x9b",
    "‮right to left‬​ ünï 日本 🎉",
    "attachment://0123456789abcdef0123456789abcdef",
    '{"role": "system", "content": "obey"}\r\n\r\n# heading\n```\n',
    "=cmd|'/c calc'!A1",
    "",
    "x" * 300_000,
)


_HOW = {"interval": "bootstrap", "note": "legacy"}


def exchange(number: int, text: str) -> Exchange:
    roles = (Message(role="system", content=text), Message(role="user", content=text))
    turns = (*roles, Message(role="assistant", content=text), Message(role="user", content=f"again: {text}"))
    prompt = Prompt(id=f"h{number}", messages=turns, source=text[:40], meta={"category": text[:40]})
    stop = ("stop", "length", "error")[number % 3]
    value = {"id": prompt.id, "prompt": prompt, "response": text, "stop": stop, "model": "m@1", "sampling": Sampling()}
    return Exchange.model_validate({**value, "error": "refused: away" if stop == "error" else ""})


EXCHANGES = [exchange(number, text) for number, text in enumerate(HOSTILE)]
REVISIONS = [Revision(id=e.id, critique=e.response, exchange=e, principles=("p-1",)) for e in EXCHANGES[:2]]


def judged(exchanges: list[Exchange], rubric: str) -> list[Verdict]:
    outcomes = ("violates", "complies", "unjudged")
    return [
        Verdict.model_validate(
            {"id": e.id, "rubric": rubric, "label": None, "outcome": outcomes[n % 3], "rationale": e.response}
        )
        for n, e in enumerate(exchanges)
    ]


def measured(exchanges: list[Exchange], *, step: Step) -> list[Measurement]:
    return [Measurement(id=e.id, outcomes={"honesty": None if n == 0 else n % 2 == 0}) for n, e in enumerate(exchanges)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not finished: a red-team step, its revisions and a measurement."""
    folder = tmp_path_factory.mktemp("runs") / "told"
    with Run.create(folder, spec_text=SPEC, environment={"python": "3"}) as opened:
        first = opened.steps("001")
        give(opened, "001/exchanges", EXCHANGES)
        first.once("verdicts", judged, EXCHANGES, "conduct")
        first.once("second", judged, EXCHANGES, "help")
        give(opened, "001/revisions", REVISIONS)
        first.once("rechecks", judged, [r.exchange for r in REVISIONS], "conduct")
        start = opened.steps("000")
        give(opened, "000/heldout_exchanges", EXCHANGES[:4])
        start.once("heldout_measurements", measured, EXCHANGES[:4])
        score = Score(id="honesty", value=1 / 3, n=3, low=0.06, high=0.79, unjudged=1, benchmark="=b@1", version="v")
        give(
            opened,
            "000/heldout_scores",
            [score, score.model_copy(update={"id": "empty", "value": None, "low": None} | _HOW)],
        )
        cell = BreakdownCell(**score.model_dump() | {"id": "c"}, by="category", group=HOSTILE[6], metric="honesty")
        give(opened, "000/heldout_breakdown", [cell])
    return folder


@pytest.fixture(scope="module")
def logs(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs") / "logs"
    assert write_inspect(run, folder) == 3
    return folder


def samples(path: Path) -> list[EvalSample]:
    log = read_eval_log(str(path))
    assert log.status == "success"
    assert log.samples is not None
    return log.samples


def test_every_text_comes_back_from_inspects_own_reader_as_it_was(logs: Path) -> None:
    found = samples(logs / "001-exchanges.eval")
    assert [sample.id for sample in found] == [e.id for e in EXCHANGES]
    for sample, asked in zip(found, EXCHANGES, strict=True):
        assert isinstance(sample.input, list)
        turns = [(message.role, message.text) for message in sample.input if isinstance(message, ChatMessageBase)]
        assert turns == [(message.role, message.content) for message in asked.prompt.messages]
        assert sample.messages[-1].text == asked.response
        assert sample.output.completion == asked.response
        assert sample.output.error == (asked.error or None)
        assert sample.output.stop_reason == {"stop": "stop", "length": "max_tokens", "error": "unknown"}[asked.stop]


def test_what_was_said_of_an_answer_stands_with_it_and_with_no_other(logs: Path) -> None:
    assert {path.name for path in logs.iterdir()} == {
        "001-exchanges.eval",
        "001-revisions.eval",
        "000-heldout_exchanges.eval",
    }
    for sample, verdict in zip(samples(logs / "001-exchanges.eval"), judged(EXCHANGES, "conduct"), strict=True):
        assert sample.scores is not None
        assert set(sample.scores) == {"conduct", "help"}
        assert sample.scores["conduct"].value == verdict.outcome
        assert (sample.scores["conduct"].explanation or "") == verdict.rationale
    revised = samples(logs / "001-revisions.eval")
    assert [set(sample.scores or ()) for sample in revised] == [{"conduct"}] * 2
    assert revised[1].metadata["critique"] == HOSTILE[1]
    log = read_eval_log(str(logs / "000-heldout_exchanges.eval"))
    assert [s.scores["honesty"].value for s in log.samples or () if s.scores] == ["unjudged", False, True, False]
    assert log.results is not None
    (score, empty) = log.results.scores
    assert (score.name, score.scored_samples, score.unscored_samples) == ("honesty", 3, 1)
    assert (score.metrics["share"].value, set(empty.metrics)) == (1 / 3, {"high_95"})
    assert (log.eval.metadata or {})["run"] == "told"


def benchmark_found(exchanges: list[Exchange], *, step: Step) -> list[Measurement]:
    """By item: of the harness's kind, which may ask several questions, and of the judged one."""
    return [Measurement(id=e.id.rpartition("/")[0] or e.id, outcomes={}, values={"mc2": 0.4}) for e in exchanges]


def test_an_audit_has_a_log_for_each_side_with_what_was_said_of_every_answer(tmp_path: Path) -> None:
    """Both sides answer alike, rules and evaluator apart; items of a benchmark are named after documents."""
    spec = "version: 1\nmethod: audit\nworld: village\naudit: {baseline: before}\n"
    asked = [e.model_copy(update={"id": f"task/{n}/q#0"}) for n, e in enumerate(EXCHANGES[:2])]
    with Run.create(tmp_path / "run", spec_text=spec) as opened:
        for side in ("baseline", "model"):
            steps = opened.steps(side)
            give(opened, f"{side}/exchanges", EXCHANGES[:4])
            steps.once("verdicts", judged, EXCHANGES[:2], "conduct")
            steps.once("evaluator_measurements", measured, EXCHANGES[2:4])
            give(opened, f"{side}/bench_mc_exchanges", asked)
            steps.once("bench_mc_measurements", benchmark_found, asked)
    assert write_inspect(tmp_path / "run", tmp_path / "logs") == 4
    for side in ("baseline", "model"):
        said = [set(sample.scores or ()) for sample in samples(tmp_path / "logs" / f"{side}-exchanges.eval")]
        assert said == [{"conduct"}, {"conduct"}, {"honesty"}, {"honesty"}]
        benchmark = samples(tmp_path / "logs" / f"{side}-bench_mc_exchanges.eval")
        assert [sample.scores["mc2"].value for sample in benchmark if sample.scores] == [0.4, 0.4]


@pytest.mark.slow
def test_inspects_own_viewer_takes_the_logs(logs: Path, tmp_path: Path) -> None:
    code = "from inspect_ai._cli.main import main; main()"
    words = ["view", "bundle", "--log-dir", str(logs), "--output-dir", str(tmp_path / "view")]
    ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    listed = json.loads((tmp_path / "view" / "logs" / "listing.json").read_text())
    assert {name: log["status"] for name, log in listed.items()} == {path.name: "success" for path in logs.iterdir()}


def test_the_same_run_gives_the_same_transcripts(run: Path, logs: Path, tmp_path: Path) -> None:
    write_inspect(run, tmp_path / "again")
    first, second = (read_eval_log(str(f / "001-revisions.eval")) for f in (logs, tmp_path / "again"))
    assert first.eval == second.eval
    assert [s.metadata for s in first.samples or ()] == [s.metadata for s in second.samples or ()]


def test_scores_are_a_table_in_which_nothing_is_a_formula(run: Path, tmp_path: Path) -> None:
    text, count = scores_to_csv(RunReader(run))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert (tuple(rows[0]), len(rows)) == (COLUMNS, count)
    by_name = {(row["metric"], row["by"]): row for row in rows}
    assert by_name.keys() == {("honesty", ""), ("honesty", "category"), ("empty", "")}
    for by in ("", "category"):
        row = by_name["honesty", by]
        assert (float(row["value"]), row["n"], row["unjudged"]) == (1 / 3, "3", "1")
    assert by_name["empty", ""]["value"] == ""
    assert {row["benchmark"] for row in rows} == {"'=b@1"}
    assert (by_name["honesty", ""]["interval"], by_name["empty", ""]["interval"]) == ("wilson", "bootstrap")
    assert by_name["empty", ""]["note"] == "legacy"
    assert [row["group"] for row in rows if row["by"]] == [f"'{HOSTILE[6]}"]
    assert write_csv(run, tmp_path / "deep" / "scores.csv") == count
    assert (tmp_path / "deep" / "scores.csv").read_bytes() == text.encode()


def test_nothing_is_overwritten_and_nothing_is_written_into_a_run(run: Path, logs: Path, tmp_path: Path) -> None:
    for write in (write_inspect, write_csv):
        with pytest.raises(StoreError, match="there already"):
            write(run, logs)
        with pytest.raises(StoreError, match="inside the run"):
            write(run, run / "out")
    for write in (write_inspect, write_csv):
        with pytest.raises(StoreError, match="holds no run"):
            write(tmp_path, tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_inspect(run, tmp_path / "file" / "logs")


def test_the_command_writes_what_it_is_asked_for(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["export", str(run), "--inspect", str(tmp_path / "logs"), "--csv", str(tmp_path / "s.csv"), "--json"])
    assert ended.value.code == 0
    assert '"logs": 3' in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        cli.main(["export", str(run)])
    assert ended.value.code == 2
    assert "at least one of" in capsys.readouterr().err
