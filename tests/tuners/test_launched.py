"""Training in processes of its own: the same policy as in process, also after kills."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from charter import weights
from charter.errors import TuningError
from charter.nouns import ModelRef
from charter.tuners.child import spread
from charter.tuners.launched import Job, LaunchedTuner
from charter.tuners.session import newest
from charter.tuners.sft import SftOptions, SftTuner
from tests import tiny
from tests.contracts.test_tuner import ROWS

ALONE = f"{sys.executable} {{script}} {{job}}"
ACCELERATE = f"env ACCELERATE_USE_CPU=true {sys.executable} -m accelerate.commands.launch"
TWO = f"{ACCELERATE} --multi_gpu --num_processes 2 {{script}} {{job}}"
OPTIONS = SftOptions(device="cpu", lr=5e-3, epochs=20, batch=2, save_steps=5, max_length=20)
LONG = tiny.lesson("long", "how do i bake a cake " * 4, "use flour")
OWNER = """
import sys
from pathlib import Path
from charter.nouns import ModelRef
from tests.tuners import test_launched as t
start = ModelRef.model_validate_json(sys.argv[2])
t.LaunchedTuner(t.OPTIONS, sys.argv[3], Path(sys.argv[1])).tune(start, t.ROWS, Path(sys.argv[1]) / "killed", 3)
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return weights.resolve(str(tiny.build(tmp_path_factory.mktemp("start"))))


@pytest.fixture(scope="module")
def in_process(start: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return SftTuner(OPTIONS).tune(start, [*ROWS, LONG], tmp_path_factory.mktemp("tuned") / "policy", 3)


def tensors(policy: ModelRef) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(Path(policy.adapter or "") / weights.ADAPTER)


def test_one_process_gives_the_policy_of_this_process_to_the_byte(
    start: ModelRef, in_process: ModelRef, tmp_path: Path
) -> None:
    tuner = LaunchedTuner(OPTIONS, ALONE, tmp_path / "work")
    policy = tuner.tune(start, [*ROWS, LONG], tmp_path / "policy", 3)
    assert policy == in_process.model_copy(update={"adapter": str(tmp_path / "policy")})
    assert set(policy.left_out) == {"long"}


def test_two_processes_killed_with_their_owner_go_on_to_the_same_policy(
    start: ModelRef, in_process: ModelRef, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    root = Path(__file__).parents[2]
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(work), start.model_dump_json(), TWO], cwd=root)
    while newest(work / "checkpoints", 2) is None:
        assert owner.poll() is None
        time.sleep(0.01)
    family = psutil.Process(owner.pid).children(recursive=True)
    assert len(family) >= 4  # warden, launcher, two that train
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    policy = LaunchedTuner(OPTIONS, TWO, work).tune(start, ROWS, tmp_path / "policy", 3)
    assert not any(process.is_running() for process in family)
    assert "goes on from checkpoint-" in (work / "log").read_text()
    assert not (work / "killed").exists() or not any((work / "killed").iterdir())
    assert set(policy.files) == set(in_process.files)
    found, expected = tensors(policy), tensors(in_process)
    assert max((found[name] - expected[name]).abs().max().item() for name in expected) < 1e-3


def test_what_a_child_says_of_its_job_is_the_error(start: ModelRef, tmp_path: Path) -> None:
    tuner = LaunchedTuner(OPTIONS, ALONE, tmp_path / "work", micro_batch=3)
    with pytest.raises(TuningError, match="do not come out even over 1 processes with 3 rows") as caught:
        tuner.tune(start, ROWS, tmp_path / "policy", 3)
    assert "tuner.micro_batch" in caught.value.cure
    assert list((tmp_path / "policy").iterdir()) == []


def test_a_launcher_that_fails_says_its_last_words(start: ModelRef, tmp_path: Path) -> None:
    command = f"{sys.executable} -S -c \"raise SystemExit('no device for {{job}}')\" {{script}}"
    with pytest.raises(TuningError, match=r"ended with status 1.*\nno device for .*job\.json"):
        LaunchedTuner(OPTIONS, command, tmp_path / "work").tune(start, ROWS, tmp_path / "policy", 3)


def test_checkpoints_of_another_job_are_not_gone_on_with(start: ModelRef, tmp_path: Path) -> None:
    command = f"{sys.executable} -S -c pass {{script}} {{job}}"
    left = tmp_path / "work" / "checkpoints" / "checkpoint-5"
    for seed, kept in ((3, False), (3, True), (4, False)):
        left.mkdir(parents=True, exist_ok=True)
        with pytest.raises(TuningError, match="ended with status 0"):
            LaunchedTuner(OPTIONS, command, tmp_path / "work").tune(start, ROWS, tmp_path / str(seed), seed)
        assert left.exists() == kept


def test_a_step_has_its_rows_over_all_processes(start: ModelRef, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(start=start, rows=(), seed=0, options=OPTIONS.model_copy(update={"batch": 8}))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert (spread(job).batch, spread(job).accumulate) == (4, 1)
    small = spread(job.model_copy(update={"micro_batch": 1}))
    assert (small.batch, small.accumulate) == (1, 4)


def test_a_checkpoint_counts_once_every_process_has_written(tmp_path: Path) -> None:
    for number, files in ((5, ["trainer_state.json", "rng_state_0.pth", "rng_state_1.pth"]), (10, ["rng_state_0.pth"])):
        (tmp_path / f"checkpoint-{number}").mkdir()
        for name in files:
            (tmp_path / f"checkpoint-{number}" / name).touch()
    assert newest(tmp_path, 2) == tmp_path / "checkpoint-5"
    assert newest(tmp_path, 1) is None
    assert newest(tmp_path / "none", 1) is None


def test_four_bits_are_refused_where_they_cannot_be(start: ModelRef, tmp_path: Path) -> None:
    tuner = SftTuner(OPTIONS.model_copy(update={"quantize": "4bit"}))
    with pytest.raises(TuningError, match="in 4 bits is not possible here"):
        tuner.tune(start, ROWS, tmp_path / "policy", 3)
    assert json.loads(tuner.identity)["quantize"] == "4bit"
