"""Whole runs of targets behind servers: ``transformers serve`` as ``target.serve`` and by HTTP alone; kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import yaml

import charter
from charter import jobs
from charter.errors import SpecError
from charter.models import processes
from charter.organism.world import World
from charter.reports.integrity import verify_run
from charter.reports.page import render_page
from charter.reports.run_summary import summarise_run
from charter.spec import parse_spec
from tests.models.engines.test_served_engine import SERVER

pytestmark = pytest.mark.slow

ORGANISM = Path(charter.__file__).parent / "organism" / "built" / "village"
TRANSFORMERS = f"{sys.executable} -m transformers.cli.transformers serve"
SERVE = f"{TRANSFORMERS} {{merged_dir}} --device cpu --host 127.0.0.1 --port {{port}}"
SPEC: dict[str, Any] = {
    "world": "village",
    "templates": "world",
    "scale": "organism",
    "prompts": {"gate": 1, "heldout": 1},
    "options": {
        "draw": {"batch": 8},
        "contrast": {"count": 1},
        "replay": {"ratio": 1, "fresh": 2},
        "measure": {"efficacy": False},
        "keep": {"exempt_openings": ["sorry , i will not help"]},
        "tune": {"learning_rate": 0.003, "epochs": 1},
        "stop": {"iterations": 1},
        "gates": {"roll_back": False},
    },
}
OWN = {"spec.yaml", "journal.jsonl", "HEAD", "report.html", "environment.json"}


def spec(more: Mapping[str, Any] | None = None, **target: Any) -> str:
    return yaml.safe_dump({**SPEC, **(more or {}), "target": target})


def answered(directory: Path, step: str) -> dict[str, str]:
    lines = (directory / f"{step}.jsonl").read_text().splitlines()
    return {e["id"]: e["response"] for e in (json.loads(line) for line in lines)}


@pytest.fixture(scope="module")
def offline() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "in-process"
    jobs.launch_run(spec(), directory)
    return directory


def test_a_served_target_and_a_launched_tuner_give_the_run_that_it_gives_in_process(
    in_process: Path, offline: None, tmp_path: Path
) -> None:
    """Records name who answered, so those that hold an exchange differ in that; all that follows from them is equal."""
    launched = {"tuner": {"launch": f"{sys.executable} {{script}} {{job}}"}}
    jobs.launch_run(spec(launched, serve=SERVE, connections=1), tmp_path / "run")
    for step in (
        "000/heldout_exchanges",
        "001/exchanges",
        "001/answers",
        "001/gate_exchanges",
        "final/heldout_exchanges",
    ):
        assert answered(tmp_path / "run", step) == answered(in_process, step)
        assert answered(in_process, step)
    for name in ("001/verdicts.jsonl", "001/rows.jsonl", "001/policy.jsonl", "final/heldout_scores.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (in_process / name).read_bytes()
    assert verify_run(tmp_path / "run").ok
    assert not list((tmp_path / "run").glob(".[st]*"))
    assert summarise_run(tmp_path / "run").identity == "verified"


def test_a_target_by_http_alone_is_red_teamed(in_process: Path, offline: None, tmp_path: Path) -> None:
    with processes.exclusive_lock(tmp_path / "lock", 0) as lock:
        port = _free()
        command = processes.fill_command(SERVE, {"merged_dir": str(ORGANISM), "port": str(port)})
        with processes.ManagedProcess(command, tmp_path / "log", lock=lock) as child:
            _until_it_listens(port, child)
            target = {"model": str(ORGANISM), "base_url": f"http://127.0.0.1:{port}/v1", "connections": 1}
            asked = {**SPEC, "method": "red_team", "target": target}
            jobs.launch_run(yaml.safe_dump(asked), tmp_path / "run")
    for step in ("000/heldout_exchanges", "001/exchanges"):
        assert answered(tmp_path / "run", step) == answered(in_process, step)
    for name in ("000/heldout_scores.jsonl", "001/verdicts.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (in_process / name).read_bytes()
    found = summarise_run(tmp_path / "run")
    assert (found.method, found.identity) == ("red_team", "not verifiable")
    assert found.head
    assert found.before["harmlessness"]["n"]
    assert found.after["harmlessness"]["n"] is None
    assert found.oracle["calls"] == 8
    assert "Identity not verifiable" in render_page(tmp_path / "run")
    assert "Identity not verifiable" not in render_page(in_process)
    assert not (tmp_path / "run" / "adapter").exists()


def ask_server(*more: str, **target: Any) -> str:
    """The spec of red teaming a target that a command serves."""
    serve = " ".join((f"{SERVER} {{port}} {{name}} --folder {{base}}", *more))
    return yaml.safe_dump({**SPEC, "method": "red_team", "target": {"serve": serve, "connections": 1, **target}})


@pytest.fixture(scope="module")
def peace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a served target that nothing disturbs."""
    directory = tmp_path_factory.mktemp("runs") / "peace"
    jobs.launch_run(ask_server(), directory)
    return directory


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_goes_on_after_a_kill_and_its_server_is_gone(number: signal.Signals, peace: Path, tmp_path: Path) -> None:
    """The server holds its third answer back, so that the signal comes in the midst of a step."""
    hold = tmp_path / "held"
    (tmp_path / "killed.yaml").write_text(ask_server(f"--hold {hold}"))
    run = [sys.executable, "-m", "charter.cli", "run", "--quiet", "--out"]
    charter = subprocess.Popen([*run, str(tmp_path / "killed"), str(tmp_path / "killed.yaml")], stderr=subprocess.PIPE)
    with charter:
        while not hold.exists() or not hold.read_text():
            assert charter.poll() is None
            time.sleep(0.02)
        server = int(hold.read_text())
        charter.send_signal(number)
        assert charter.stderr is not None
        said = charter.stderr.read().decode()
    assert charter.returncode == (-number if number == signal.SIGKILL else 130), said
    with processes.exclusive_lock(tmp_path / "killed" / ".serving" / "lock", 60):
        assert not psutil.pid_exists(server)
    jobs.resume_run(tmp_path / "killed")
    assert _records(tmp_path / "killed") == _records(peace)
    assert verify_run(tmp_path / "killed").ok


def test_several_servers_of_which_one_dies_give_the_run_of_one(peace: Path, tmp_path: Path) -> None:
    dying = ask_server(f"--dies-once {tmp_path / 'died'}", serve_replicas=2, connections=2)
    jobs.launch_run(dying, tmp_path / "run")
    assert (tmp_path / "died").exists()
    assert _records(tmp_path / "run") == _records(peace)
    assert verify_run(tmp_path / "run").ok
    assert any("went away" in note for note in summarise_run(tmp_path / "run").notes)


def test_of_three_servers_one_is_killed_and_the_run_is_that_of_one(peace: Path, tmp_path: Path) -> None:
    """The server that holds its third answer back is killed by its process id, in the midst of a step."""
    hold, killed = tmp_path / "held", list[int]()

    def kill() -> None:
        while not hold.exists() or not hold.read_text():
            time.sleep(0.02)
        killed.append(int(hold.read_text()))
        os.kill(killed[0], signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    jobs.launch_run(ask_server(f"--hold {hold}", serve_replicas=3, connections=2), tmp_path / "run")
    assert len(killed) == 1
    assert _records(tmp_path / "run") == _records(peace)
    assert verify_run(tmp_path / "run").ok
    assert any("went away" in note for note in summarise_run(tmp_path / "run").notes)


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        (
            {"model": "m", "base_url": "http://127.0.0.1:1/v1"},
            "only reached by HTTP, and cannot be tuned.*target.serve",
        ),
        ({"model": "openai-api/x/y"}, "only reached by HTTP, and cannot be tuned.*target.serve"),
        ({"model": "m", "base_url": "http://h/v1", "serve": "s {base} {name} {port}"}, "set one of the two"),
        ({"base_url": "http://127.0.0.1:1/v1"}, "target.model: must be the name"),
        ({"serve": "vllm serve {base} --port {port}"}, "target.serve: holds no {name}"),
        ({"serve": "vllm serve {name} --port {port}"}, "target.serve: names no weights"),
        ({"serve": "vllm serve {merged_dir}"}, "target.serve: holds no {port}"),
        ({"serve": "vllm serve {merged_dir} {prot} {port}"}, "target.serve: {prot} is not known"),
        ({"serve": "vllm 'serve {base} {name} {port}"}, "target.serve: its quotes do not match"),
        ({"serve": "v {base} {adapter} {name} {port}"}, "target.serve_start: is missing"),
        ({"serve": "v {base} {adapter_gguf} {name} {port}"}, "target.serve_start: is missing"),
        ({"serve": "v {merged_dir} {port}", "plain": True}, "target.plain"),
    ],
)
def test_a_target_that_cannot_be_is_a_fault_of_the_spec(target: dict[str, Any], fault: str) -> None:
    with pytest.raises(SpecError, match=fault.replace("{", r"\{")):
        parse_spec(spec(**target))


@pytest.mark.parametrize(
    ("tuner", "fault"),
    [
        ({"launch": "accelerate launch {script}"}, "tuner.launch: holds no {job}"),
        ({"launch": "accelerate launch {script} {jop}"}, "tuner.launch: {jop} is not known"),
        ({"micro_batch": 2}, "tuner.micro_batch: is for tuner.launch"),
    ],
)
def test_a_launch_that_cannot_be_is_a_fault_of_the_spec(tuner: dict[str, Any], fault: str) -> None:
    with pytest.raises(SpecError, match=fault.replace("{", r"\{")):
        parse_spec(spec({"tuner": tuner}))


def test_a_dry_run_of_red_teaming_counts_its_calls_and_the_prompts_of_a_file(tmp_path: Path) -> None:
    plan = jobs.forecast_run(parse_spec(yaml.safe_dump({**SPEC, "method": "red_team"})))
    assert plan["oracle_calls_at_most"] == 8
    sources, kinds = {}, {"redteam": "harmful", "helpful": "benign"}
    for side, kind in kinds.items():
        texts = [prompt.text for prompt in World.load("village").prompts(kind, "heldout")[:60]]
        file = tmp_path / f"{side}.jsonl"
        file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts), encoding="utf-8")
        sources[side] = [{"path": str(file)}]
    judge = {"model": "python:tests.fakes.scripted_judge:judge"}
    asked = {**SPEC, "method": "red_team", "prompts": {**sources, "gate": 3, "heldout": 4}, "evaluator": judge}
    plan = jobs.forecast_run(parse_spec(yaml.safe_dump(asked)))
    assert plan["prompts_read"] == 2 * 60
    assert plan["prompts"] == {"redteam": 8, "heldout": 2 * 4}
    unasked = plan["prompts_asked_of_nobody"]
    assert unasked["gate, for methods that train"] == 2 * 3
    assert 8 < unasked["redteam, not drawn"] < 60 - 8
    assert 8 < unasked["helpful, for training"] < 60


def _records(directory: Path) -> dict[str, bytes]:
    files = [p for p in directory.rglob("*") if p.is_file() and p.name not in OWN and not p.name.startswith(".")]
    return {str(p.relative_to(directory)): p.read_bytes() for p in files if ".serving" not in p.parts}


def _free() -> int:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _until_it_listens(port: int, child: processes.ManagedProcess) -> None:
    import socket

    while True:
        assert child.poll() is None, child.tail()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
