"""A whole small run with its oracle in another process: the same as in process, whatever goes wrong on the way."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from charter import cli, jobs
from charter.errors import OfflineError, SpecError, UnavailableError
from charter.evals.judged_benchmark import JudgedBenchmark, PromptSides
from charter.models.engines.remote_engine import RemoteEngine, RemoteOptions
from charter.organism.fault_proxy import CONTENT_FAULTS, TRANSPORT_FAULTS, FaultRates, run_fault_proxy
from charter.organism.oracle import Oracle
from charter.organism.world import World
from charter.ports import AnsweredItem
from charter.records.chat import Exchange, Prompt, Sampling
from charter.records.measurements import MeasuredSplit, Measurement
from charter.records.templates import Templates
from charter.reports.costs import read_costs
from charter.reports.run_summary import summarise_run
from charter.runs import Observer
from charter.runs.reader import RunReader
from charter.spec import change_spec, list_recipes, parse_spec
from charter.wiring.offline import block_network
from tests.fakes.openai_server import telltale
from tests.fakes.tiny_models import ask

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
"""Calls made ahead show the libraries' warnings, since Python keeps one list of filters for all threads. As an error,
one would end a call that was answered."""

pytest.importorskip("inspect_ai")

SMALL = {
    "prompts.heldout": "2",
    "prompts.gate": "2",
    "options.draw.batch": "16",
    "options.measure.efficacy": "false",
    "options.stop.iterations": "1",
    "options.replay": "{fresh: 4, ratio: 1}",
    "options.contrast.count": "2",
    "options.tune.epochs": "1",
}
SECRET = "sk-fake-and-very-secret"
APART = {".lock", "HEAD", "journal.jsonl", "environment.json", "report.html", "spec.yaml"}
"""Files in which equal runs may differ: times, versions, and what was asked."""


def small(**changes: str) -> str:
    return change_spec(list_recipes()["iteralign"].read_text(encoding="utf-8"), {**SMALL, **changes})


def by_http(url: str, more: str = "") -> str:
    return small(oracle=f"{{model: village, base_url: '{url}', timeout_s: 5{more}}}")


def launched(text: str, directory: Path, observer: Observer | None = None) -> Path:
    jobs.launch_run(text, directory, observer)
    return directory


def slow_down(step: str, _done: int, _total: int) -> None:
    """The organism answers faster than its judge can be asked; a model does not."""
    if step in ("001/exchanges", "001/revisions"):
        time.sleep(0.1)


def contents(directory: Path) -> dict[str, Any]:
    """What equal runs hold: every file but those apart; a seal without the inputs that name the oracle."""
    found: dict[str, Any] = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if not path.is_file() or name in APART:
            continue
        found[name] = path.read_bytes()
        if name.endswith(".seal.json"):
            seal = json.loads(path.read_text(encoding="utf-8"))
            seal["inputs"] = {key: value for key, value in seal["inputs"].items() if key not in ("judge", "proposer")}
            found[name] = seal
    return found


def records(directory: Path, step: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / f"{step}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def oracle() -> Iterator[str]:
    """The village's oracle, served by a process of its own."""
    child = subprocess.Popen(
        [sys.executable, "-m", "charter.cli", "organism", "serve"], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    yield child.stdout.readline().strip()
    child.terminate()
    child.communicate()


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return launched(small(), tmp_path_factory.mktemp("inside") / "run")


def test_asked_while_the_target_answers_it_is_the_same_run_and_no_call_is_made_twice(
    oracle: str, tmp_path: Path
) -> None:
    runs = [launched(by_http(oracle, f", overlap: {on}"), tmp_path / on, slow_down) for on in ("true", "false")]
    reading, other = map(RunReader, runs)
    ahead = {event["step"] for event in reading.events if event.get("ahead")}
    assert {"001/verdicts", "001/rechecks"} <= ahead
    assert not any(event.get("ahead") for event in other.events)
    assert contents(runs[0]) == contents(runs[1])
    assert [cost for cost in read_costs(reading) if cost.made != cost.calls] == []


def test_the_same_run_with_every_transport_fault(oracle: str, inside: Path, tmp_path: Path) -> None:
    with run_fault_proxy(oracle, FaultRates(transport=0.3, hang=0.05, retry_after=0.05)) as (url, traffic):
        run = launched(by_http(url), tmp_path / "run")
    assert {*TRANSPORT_FAULTS, "fine"} <= set(traffic.calls)
    assert traffic.repeated == 0
    assert contents(run) == contents(inside)
    assert summarise_run(run).oracle["calls"] == summarise_run(inside).oracle["calls"]


def test_prompts_that_a_served_model_writes_are_those_that_it_writes_in_process(oracle: str, tmp_path: Path) -> None:
    little = {"options.instruct.rounds": "2", "options.instruct.calls": "3", "options.instruct.topics.rounds": "1"}
    text = change_spec(list_recipes()["self_instruct"].read_text(encoding="utf-8"), little)
    here = launched(text, tmp_path / "here")
    with run_fault_proxy(oracle, FaultRates(transport=0.3, retry_after=0.05)) as (url, traffic):
        there = launched(change_spec(text, {"oracle": f"{{model: village, base_url: '{url}'}}"}), tmp_path / "there")
    assert set(traffic.calls) > {"fine"}
    assert (there / "prompts.jsonl").read_bytes() == (here / "prompts.jsonl").read_bytes()
    assert records(there, "000/questions_written") == records(here, "000/questions_written")


def test_an_oracle_that_goes_away_pauses_the_run_and_nothing_is_lost(oracle: str, inside: Path, tmp_path: Path) -> None:
    with run_fault_proxy(oracle, FaultRates()) as (url, traffic):

        def leave(step: str, done: int, total: int) -> None:
            traffic.down = step == "001/rechecks"

        with pytest.raises(UnavailableError, match="does not answer"):
            launched(by_http(url, ", give_up_after_s: 1"), tmp_path / "run", leave)
        paused = [json.loads(line) for line in (tmp_path / "run/journal.jsonl").read_text().splitlines()][-1]
        assert (paused["event"], paused["step"]) == ("paused", "001/rechecks")
        traffic.down = False
        jobs.resume_run(tmp_path / "run")
        assert set(traffic.calls) == {"down", "fine"}
        assert traffic.repeated == 0
    assert contents(tmp_path / "run") == contents(inside)


def test_content_faults_leave_things_unjudged_and_nothing_wrong(oracle: str, inside: Path, tmp_path: Path) -> None:
    with run_fault_proxy(oracle, FaultRates(content=0.4, seed=1)) as (url, traffic):
        run = launched(by_http(url), tmp_path / "run")
    assert set(CONTENT_FAULTS) <= set(traffic.calls)
    true = {v["id"]: v for v in records(inside, "001/verdicts")}
    seen = {v["id"]: v for v in records(run, "001/verdicts")}
    unjudged = {key for key, verdict in seen.items() if verdict["outcome"] == "unjudged"}
    assert seen.keys() == true.keys()
    assert unjudged
    assert all(seen[key]["label"] == true[key]["label"] for key in seen.keys() - unjudged)
    assert summarise_run(run).unjudged >= len(unjudged)
    trained_on_judged_only(run)


def trained_on_judged_only(run: Path) -> None:
    """Every row of the first iteration has a verdict behind it that says so."""
    good = {
        name: {v["id"] for v in records(run, f"001/{name}") if v["outcome"] == "complies"}
        for name in ("verdicts", "rechecks", "helps", "checks")
    }
    behind = {
        "revision": good["rechecks"] & good["helps"],
        "complied": good["verdicts"],
        "lookalike": good["checks"],
        "helpful": good["checks"],
    }
    rows = records(run, "001/rows")
    assert rows
    for row in rows:
        assert row["id"].split("/")[-1].split("#")[0] in behind[row["origin"]]


def test_scores_lie_within_what_the_unjudged_leave_open(oracle: str) -> None:
    world = World.load("village")
    redteam, helpful = world.redteam_prompts("gate")[:60], world.prompts("benign", "gate")[:60]
    answers = [world.refusal, "yes , of course .", *(world.parse_prompt(p.text).truth for p in redteam[:2])]
    exchanges = [
        Exchange(
            id=p.id,
            prompt=p,
            response=answers[n % len(answers)],
            stop="stop",
            model="m",
            sampling=Sampling(),
        )
        for n, p in enumerate((*redteam, *helpful))
    ]

    def graded(benchmark: JudgedBenchmark) -> list[Measurement]:
        return sorted(benchmark.grade([AnsweredItem.from_exchange(e) for e in exchanges]), key=lambda found: found.id)

    sets: tuple[dict[MeasuredSplit, Sequence[Prompt]], dict[MeasuredSplit, Sequence[Prompt]]] = (
        {"gate": redteam},
        {"gate": helpful},
    )
    true = graded(JudgedBenchmark("gate", PromptSides(*sets), Oracle(world), Templates()))
    with run_fault_proxy(oracle, FaultRates(content=0.4)) as (url, _):
        engine = RemoteEngine("village", RemoteOptions(base_url=url))
        seen = graded(JudgedBenchmark("gate", PromptSides(*sets), engine, Templates()))
        engine.close()
    for metric in ("harmlessness", "helpfulness", "over_refusal"):
        known = [m.outcomes[metric] for m in true if metric in m.outcomes]
        found = [m.outcomes[metric] for m in seen if metric in m.outcomes]
        assert len(found) == len(known)
        assert None in found
        low = sum(outcome is True for outcome in found)
        assert low <= sum(outcome is True for outcome in known) <= low + found.count(None)
        assert all(f in (None, k) for f, k in zip(found, known, strict=True))


def test_a_key_is_nowhere(
    oracle: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The server repeats the key that it is given, in its answers and in its errors."""
    monkeypatch.setenv("VILLAGE_KEY", SECRET)
    caplog.set_level(logging.INFO)
    heard: list[str] = []
    with telltale(oracle, heard) as url:
        spec = tmp_path / "spec.yaml"
        spec.write_text(by_http(url, ", key_env: VILLAGE_KEY, retries: 1"))
        with pytest.raises(SystemExit) as ended:
            cli.main(["run", str(spec), "--out", str(tmp_path / "run")])
        assert ended.value.code == 0
        with pytest.raises(SystemExit):
            cli.main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "report.html")])
        heard.append("refuse")
        spec.write_text(by_http(url, ", key_env: VILLAGE_KEY, retries: 2"))
        with pytest.raises(SystemExit) as refused:
            cli.main(["run", str(spec), "--out", str(tmp_path / "refused")])
        assert refused.value.code == 4
    out, err = capfd.readouterr()
    files = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert heard.count(f"Bearer {SECRET}") > 20
    assert "***" in err
    assert any(b"***" in data for path, data in files.items() if path.name == "verdicts.jsonl")
    assert [path for path, data in files.items() if SECRET.encode() in data] == []
    assert SECRET not in out + err + caplog.text


def test_offline_is_refused_before_the_run_begins(tmp_path: Path, oracle: str) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"{small()}\noffline: true\noracle: {{model: openai/gpt-4o}}\n")
    with pytest.raises(SpecError, match=r"oracle\.model: openai/gpt-4o is reached over the network"):
        launched(spec.read_text(), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert parse_spec(small(oracle=f"{{model: village, base_url: '{oracle}'}}", offline="true")).offline


def test_offline_nothing_leaves_this_machine(oracle: str) -> None:
    real = socket.socket.connect
    with block_network(True):
        with pytest.raises(OfflineError, match=r"192\.0\.2\.1 was to be reached"):
            socket.create_connection(("192.0.2.1", 80), timeout=1)
        with socket.socket() as plain, pytest.raises(OfflineError, match="offline: false"):
            plain.connect_ex(("192.0.2.1", 80))
        with pytest.raises(OfflineError, match=r"example\.org"):
            urllib.request.urlopen("http://example.org/")
        with urllib.request.urlopen(f"{oracle}/models") as answer:
            assert answer.status == 200
        engine = RemoteEngine("openai/gpt-4o", RemoteOptions(base_url="http://192.0.2.1/v1"))
        with pytest.raises(OfflineError, match="was to be reached"):
            list(engine.generate([ask("r", "x")]))
        engine.close()
    assert socket.socket.connect is real
    with block_network(False):
        assert socket.socket.connect is real
