"""Training in processes of its own: the same policy as in process, also after kills."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from charter.errors import TuningError
from charter.models import weights
from charter.models.tuners import reward_model, training_worker
from charter.models.tuners.isolation import find_newest_checkpoint
from charter.models.tuners.kto_trainer import KtoOptions
from charter.models.tuners.launched_tuner import (
    CHECKPOINT_FOLDER,
    JOB_FILE,
    POLICY_FOLDER,
    RESULT_FILE,
    LaunchedJob,
    LaunchedTuner,
)
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.training_job import TrainingResult
from charter.models.tuners.training_worker import split_batch
from charter.models.tuners.tuner_options import (
    DpoOptions,
    RewardOptions,
    RlooOptions,
    SftOptions,
    TuneOptions,
)
from charter.records.chat import Exchange, Prompt, Sampling
from charter.records.model_refs import ModelRef
from charter.records.preferences import ExchangeReward
from charter.records.record import canonical
from charter.records.training_rows import PreferencePair, RatedAnswer, TrainingRow
from tests.contracts.test_tuner import ROWS
from tests.fakes import tiny_models

pytestmark = pytest.mark.slow

ALONE = f"{sys.executable} {{script}} {{job}}"
ACCELERATE = f"env ACCELERATE_USE_CPU=true {sys.executable} -m accelerate.commands.launch"
TWO = f"{ACCELERATE} --multi_gpu --num_processes 2 {{script}} {{job}}"
OPTIONS = SftOptions(device="cpu", lr=5e-3, epochs=20, batch=2, save_steps=5, max_length=20, row_order="length")
LONG = tiny_models.lesson("long", "how do i bake a cake " * 4, "use flour")
OWNER = """
import sys
from pathlib import Path
from charter.records.model_refs import ModelRef
from tests.models.tuners import test_launched_tuner as t
start = ModelRef.model_validate_json(sys.argv[2])
t.LaunchedTuner(t.OPTIONS, sys.argv[3], Path(sys.argv[1])).tune(start, t.ROWS, Path(sys.argv[1]) / "killed", 3)
"""


@pytest.fixture(scope="module")
def in_process(start: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return LocalTuner(OPTIONS).tune(start, [*ROWS, LONG], tmp_path_factory.mktemp("tuned") / "policy", 3)


def tensors(policy: ModelRef) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(Path(policy.adapter or "") / weights.ADAPTER_WEIGHTS)


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
    root = Path(__file__).parents[3]
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(work), start.model_dump_json(), TWO], cwd=root)
    while find_newest_checkpoint(work / "checkpoints", 2) is None:
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
    job = LaunchedJob(start=start, rows=(), seed=0, options=OPTIONS.model_copy(update={"batch": 8}))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert (split_batch(job).batch, split_batch(job).accumulate) == (4, 1)
    small = split_batch(job.model_copy(update={"micro_batch": 1}))
    assert (small.batch, small.accumulate) == (1, 4)


def test_a_checkpoint_counts_once_every_process_has_written(tmp_path: Path) -> None:
    for number, files in ((5, ["trainer_state.json", "rng_state_0.pth", "rng_state_1.pth"]), (10, ["rng_state_0.pth"])):
        (tmp_path / f"checkpoint-{number}").mkdir()
        for name in files:
            (tmp_path / f"checkpoint-{number}" / name).write_text("{}")
    assert find_newest_checkpoint(tmp_path, 2) == tmp_path / "checkpoint-5"
    (tmp_path / "checkpoint-5" / "trainer_state.json").write_text('{"epoch": 1.')
    assert find_newest_checkpoint(tmp_path, 2) is None, "a state that was cut off"
    (tmp_path / "checkpoint-5" / "trainer_state.json").write_text("{}")
    assert find_newest_checkpoint(tmp_path, 1) is None
    assert find_newest_checkpoint(tmp_path / "none", 1) is None


def test_four_bits_are_trained_over_or_refused_where_they_cannot_be(start: ModelRef, tmp_path: Path) -> None:
    import torch

    tuner = LocalTuner(OPTIONS.model_copy(update={"quantize": "4bit"}))
    if torch.cuda.is_available() and find_spec("bitsandbytes") is not None:
        made = tuner.tune(start, ROWS, tmp_path / "policy", 3)
        assert "adapter_model.safetensors" in made.files
    else:
        with pytest.raises(TuningError, match="in 4 bits is not possible here"):
            tuner.tune(start, ROWS, tmp_path / "policy", 3)
    assert json.loads(tuner.identity)["quantize"] == "4bit"


PRACTICE = RlooOptions(
    device="cpu", lr=5e-3, steps=12, batch=8, group_size=4, beta=0.1, answer_tokens=5, save_steps=3, schedule="constant"
)
LEARNERS: dict[str, TuneOptions] = {
    "kto": KtoOptions(device="cpu", lr=5e-3, epochs=6, batch=4, save_steps=3),
    "dpo": DpoOptions(device="cpu", lr=5e-3, epochs=6, batch=4, save_steps=3),
    "reward": RewardOptions(device="cpu", lr=5e-3, epochs=6, batch=4, save_steps=3),
}
PAIRS = [PreferencePair(id=row.id, messages=row.messages, chosen="yes please", rejected="no no no") for row in ROWS]
OWNED = """
import sys
from pathlib import Path
from charter.records.model_refs import ModelRef
from tests.models.tuners import test_launched_tuner as t
start, reward = (ModelRef.model_validate_json(text) for text in sys.argv[2:4])
t.elsewhere(sys.argv[4], Path(sys.argv[1]), start, reward)(Path(sys.argv[1]) / "killed")
"""
PROMPTS = [Prompt(id=row.id, messages=row.messages) for row in ROWS]
MANY = [row.model_copy(update={"id": f"{row.id}{n}"}) for n in range(4) for row in PAIRS]
RATED = [
    RatedAnswer(id=f"{row.id}/{good}", messages=row.messages, response=row.chosen if good else row.rejected, good=good)
    for row in MANY[:8]
    for good in (True, False)
]
LEARNT: dict[str, Sequence[TrainingRow]] = {"dpo": MANY, "reward": MANY, "kto": RATED}


def elsewhere(method: str, work: Path, start: ModelRef, reward: ModelRef) -> Callable[[Path], ModelRef]:
    """A training in a process of its own, of one kind."""
    if method == "rloo":
        practice = LaunchedTuner(PRACTICE, ALONE, work)
        return lambda directory: practice.tune(start, PROMPTS, directory, 3, start, reward)
    tuner = LaunchedTuner(LEARNERS[method], ALONE, work)
    return lambda directory: tuner.tune(start, LEARNT[method], directory, 3)


@pytest.fixture(scope="module")
def reward(start: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    rewarding = RewardOptions(device="cpu", lr=1e-2, epochs=2, batch=4)
    return LocalTuner(rewarding).tune(start, PAIRS, tmp_path_factory.mktemp("made") / "reward", 1)


@pytest.mark.parametrize("method", ["dpo", "rloo"])
def test_a_training_that_was_killed_goes_on_to_the_same_files(
    method: str, start: ModelRef, reward: ModelRef, tmp_path: Path
) -> None:
    if method == "rloo":
        plain = LocalTuner(PRACTICE).tune(start, PROMPTS, tmp_path / "plain", 3, start, reward)
    else:
        plain = LocalTuner(LEARNERS[method]).tune(start, LEARNT[method], tmp_path / "plain", 3)
    work, root = tmp_path / "work", Path(__file__).parents[3]
    given = [str(work), start.model_dump_json(), reward.model_dump_json(), method]
    owner = subprocess.Popen([sys.executable, "-c", OWNED, *given], cwd=root)
    while find_newest_checkpoint(work / "checkpoints", 1) is None:
        assert owner.poll() is None
        time.sleep(0.01)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    policy = elsewhere(method, work, start, reward)(tmp_path / "policy")
    assert "goes on from checkpoint-" in (work / "log").read_text()
    assert policy == plain.model_copy(update={"adapter": policy.adapter})
    assert len(policy.curve) > 1


@pytest.mark.parametrize("method", ["kto", "reward"])
def test_a_training_goes_on_from_its_checkpoint_to_the_same_files(
    method: str, start: ModelRef, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What a kill leaves is a checkpoint and no result. The child's own code runs in this process."""
    plain = LocalTuner(LEARNERS[method]).tune(start, LEARNT[method], tmp_path / "plain", 3)
    job = LaunchedJob(start=start, rows=tuple(LEARNT[method]), seed=3, options=LEARNERS[method])
    policy, file = tmp_path / POLICY_FOLDER, tmp_path / JOB_FILE
    file.write_text(canonical(job), encoding="utf-8")
    for goes_on in (False, True):
        policy.mkdir()
        assert training_worker.main(file) == 0
        assert ("goes on from checkpoint-" in capfd.readouterr().out) is goes_on
        assert weights.file_digests(policy) == plain.files
        result = TrainingResult.model_validate_json((tmp_path / RESULT_FILE).read_bytes())
        assert result.curve == plain.curve
        assert len(result.curve) > 1
        last = find_newest_checkpoint(tmp_path / CHECKPOINT_FOLDER, 1)
        assert last is not None
        for left in (last, policy):
            shutil.rmtree(left)


def test_practice_elsewhere_ends_where_it_has_gone_too_far(start: ModelRef, reward: ModelRef, tmp_path: Path) -> None:
    """On a step with a checkpoint, of which none is left: who goes on from one would take another step."""
    near = PRACTICE.model_copy(update={"max_kl": 1e-4, "save_steps": 1})
    practice = LaunchedTuner(near, ALONE, tmp_path / "work")
    policy = practice.tune(start, PROMPTS, tmp_path / "policy", 3, start, reward)
    last = policy.curve[-1].step
    assert last < PRACTICE.steps
    assert "practice was ended" in policy.notes[0]
    assert not (tmp_path / "work" / "checkpoints" / f"checkpoint-{last}").exists()


def test_each_process_has_rewards_on_its_own_device(
    start: ModelRef, reward: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    places, whole = [], reward_model._load_with_one_output

    def here(where: Path, device: str, options: TuneOptions) -> Any:
        places.append(device)
        return whole(where, "cpu", options)

    monkeypatch.setattr(reward_model, "_load_with_one_output", here)
    drawn = Exchange(
        id="a", prompt=PROMPTS[0], response="yes", stop="stop", model="policy", sampling=Sampling(temperature=1.0)
    )
    for given in ({}, {"LOCAL_RANK": "1"}, {"LOCAL_RANK": "1", "ACCELERATE_USE_FSDP": "true"}):
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        with weights.quiet_libraries():
            reward_model.load_trainable_reward_model(start, RewardOptions(device="cuda"))
        assert len(list(reward_model.RewardModel(reward, RewardOptions(device="cuda")).rewards([drawn]))) == 1
    assert places == ["cuda", "cuda", "cuda:1", "cuda:1", "cpu", "cuda:1"]


def test_a_judge_cannot_reward_elsewhere(start: ModelRef, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="A judge cannot reward"):
        LaunchedTuner(PRACTICE, ALONE, tmp_path).tune(start, PROMPTS, tmp_path / "policy", 3, start, Judge())


class Judge:
    identity = "judge"

    def rewards(self, exchanges: Sequence[Exchange], done: Collection[str] = ()) -> Iterator[ExchangeReward]:
        raise NotImplementedError
