"""Learning from preferences with ``tuner.launch``, from a spec: the same run as in process, also after a kill."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from charter import jobs
from charter.errors import TuningError
from charter.reports.integrity import verify_run
from charter.spec import change_spec, list_recipes
from tests.fakes.scripted_run import substance

pytestmark = pytest.mark.slow

LAUNCH = f"{sys.executable} {{script}} {{job}}"
ONCE = """
import json, subprocess, sys, time
from pathlib import Path

script, job = sys.argv[1], Path(sys.argv[2])
child = subprocess.Popen([sys.executable, script, str(job)])
mark = Path(__file__).with_name("killed")
practises = json.loads(job.read_text())["options"]["method"] == "rloo"
while practises and not mark.exists() and child.poll() is None:
    if any((job.parent / "checkpoints").glob("checkpoint-*/trainer_state.json")):
        child.kill()
        child.wait()
        mark.touch()
        sys.exit(1)
    time.sleep(0.02)
sys.exit(child.wait())
"""
"""Starts the training; the first that practises is killed once it has left a checkpoint."""
SMALL: dict[str, Any] = {
    "prompts.heldout": "2",
    "prompts.gate": "4",
    "options.contrast.count": "0",
    "options.learn.replay": "8",
    "options.learn.pairs.prompts": "16",
    "options.learn.dpo.epochs": "1",
    "options.learn.kto.epochs": "1",
    "options.learn.reward.epochs": "1",
    "options.learn.rloo.warm_up": "8",
    "options.learn.rloo.rounds": "1",
    "options.learn.rloo.steps": "6",
    "options.learn.rloo.batch": "8",
    "options.learn.rloo.answers_per_prompt": "4",
    "options.learn.guard.kl_prompts": "8",
    "options.learn.guard.require_accuracy": "false",
    "options.gates.roll_back": "false",
    "tuner.save_steps": "2",
}


def spec(how: str, launch: str) -> str:
    """The recipe at a small size."""
    text = list_recipes()["rlhf"].read_text(encoding="utf-8")
    more = {"tuner.launch": launch} if launch else {}
    return change_spec(text, {**SMALL, "options.learn.algorithm": how, **more})


def files(run: Path) -> dict[str, bytes]:
    """Every record and every file of a policy, but for what names the tuner."""
    found = {name: data for name, data in substance(run).items() if not name.endswith((".seal.json", "spec.yaml"))}
    found |= {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("*.safetensors"))}
    return {name: data for name, data in found.items() if not name.endswith(("HEAD", "report.html"))}


def test_a_launched_run_is_the_run_in_process(tmp_path: Path) -> None:
    for name, launch in (("inside", ""), ("launched", LAUNCH)):
        jobs.launch_run(spec("dpo", launch), tmp_path / name)
        assert verify_run(tmp_path / name).ok
    inside, launched = files(tmp_path / "inside"), files(tmp_path / "launched")
    assert any(name.endswith("model.safetensors") for name in inside)
    assert launched == inside


def test_a_child_that_is_killed_in_practice_is_told_and_the_run_goes_on_to_the_same_end(tmp_path: Path) -> None:
    (tmp_path / "once.py").write_text(ONCE, encoding="utf-8")
    command, run = f"{sys.executable} {tmp_path / 'once.py'} {{script}} {{job}}", tmp_path / "run"
    with pytest.raises(TuningError, match="ended with status 1"):
        jobs.launch_run(spec("rloo", command), run)
    left = run / ".tuning"
    assert [p.name for p in (left / "checkpoints").glob("checkpoint-*")], "there is something to go on from"
    assert not (run / "001" / "policy.seal.json").exists()
    jobs.resume_run(run)
    assert verify_run(run).ok
    assert not left.exists()
    jobs.launch_run(spec("rloo", ""), tmp_path / "inside")
    assert files(run) == files(tmp_path / "inside")


@pytest.mark.parametrize("rows", ["pairs", "verdicts"])
def test_a_run_of_kto_on_the_organism_is_whole_and_goes_on_to_the_same_end(rows: str, tmp_path: Path) -> None:
    """Its policy is that of the run in this process, although it was broken off once: on pairs within the training."""
    own, run = {"options.learn.kto.rows": rows}, tmp_path / "run"
    jobs.launch_run(change_spec(spec("kto", ""), own), tmp_path / "inside")
    assert verify_run(tmp_path / "inside").ok
    rated = [json.loads(line) for line in (tmp_path / "inside/001/mixed.jsonl").read_text().splitlines()]
    assert {row["good"] for row in rated} == {True, False}
    assert (tmp_path / "inside/000/preferences.jsonl").exists() is (rows == "pairs")
    if rows == "pairs":
        (tmp_path / "once.py").write_text(ONCE.replace('"rloo"', '"kto"'), encoding="utf-8")
        command = f"{sys.executable} {tmp_path / 'once.py'} {{script}} {{job}}"
        with pytest.raises(TuningError, match="ended with status 1"):
            jobs.launch_run(change_spec(spec("kto", command), own), run)
    else:
        with pytest.raises(KeyboardInterrupt):
            jobs.launch_run(change_spec(spec("kto", ""), own), run, interrupt_training)
    assert not (run / "001" / "policy.seal.json").exists()
    jobs.resume_run(run)
    assert files(run) == files(tmp_path / "inside")


def interrupt_training(path: str, done: int, total: int) -> None:
    """Breaks a run off before it trains."""
    if path == "001/policy":
        raise KeyboardInterrupt
