"""Training on a node of a real Ray cluster: the same policy as in this process, also after a lost worker."""

from __future__ import annotations

import shlex
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from charter.errors import TuningError, UnavailableError
from charter.models.engines.ray_cluster import RayCluster, RayOptions
from charter.models.tuners.isolation import find_newest_checkpoint
from charter.models.tuners.launched_tuner import CHECKPOINT_FOLDER, JOB_FILE, LaunchedTuner
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.ray_rewards import ExchangeChunk, RayRewarder
from charter.models.tuners.ray_tuner import RayTuner
from charter.models.tuners.reward_model import RewardModel
from charter.models.tuners.tuner_options import RewardOptions, SftOptions
from charter.ports import RLTuner, SupportsLRScale
from charter.records.chat import Exchange, Message, Prompt, Sampling, StopReason
from charter.records.model_refs import ModelRef
from charter.records.preferences import ExchangeReward
from tests.contracts.test_tuner import ROWS
from tests.fakes import tiny_models
from tests.fakes.ray_replicas import SMALL_STORE, start_nodes

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # those of Ray are not ours

OPTIONS = SftOptions(device="cpu", lr=5e-3, epochs=8, batch=2, save_steps=4, max_length=20)
SEES = shlex.quote(f'echo "$CUDA_VISIBLE_DEVICES" > "$1.gpus"; exec {sys.executable} "$0" "$1"')
COMMAND = f"sh -c {SEES} {{script}} {{job}}"
"""Trains, and tells which GPUs it was given."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """Two nodes, of which one has a GPU, as far as Ray knows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        with start_nodes(1) as nodes:
            found: Any = nodes
            found.add_node(num_cpus=1, num_gpus=1, object_store_memory=SMALL_STORE)
            yield RayCluster(RayOptions(wait_s=60))


@pytest.fixture(scope="module")
def in_process(start: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return LocalTuner(OPTIONS).tune(start, ROWS, tmp_path_factory.mktemp("tuned") / "policy", 3)


def rated(id: str, text: str, stop: StopReason = "stop") -> Exchange:
    prompt = Prompt(id=id, messages=(Message(role="user", content="how do i bake a cake"),))
    return Exchange(id=id, prompt=prompt, response=text, stop=stop, model="m", sampling=Sampling())


def end_worker_at_checkpoint(checkpoints: Path, ended: list[int]) -> None:
    """Ends the worker that trains, once it has a checkpoint."""
    while find_newest_checkpoint(checkpoints, 1) is None:
        time.sleep(0.01)
    for process in psutil.Process().children(recursive=True):
        if "ReplicaWorker" in " ".join(process.cmdline()):
            process.kill()
            ended.append(process.pid)


def test_a_node_with_gpus_trains_the_policy_of_this_process_to_the_byte_though_its_worker_is_lost(
    start: ModelRef, in_process: ModelRef, cluster: RayCluster, tmp_path: Path
) -> None:
    tuner, ended = LaunchedTuner(OPTIONS, COMMAND, tmp_path / "work"), list[int]()
    sent = RayTuner(tuner, cluster, cpus=1, gpus=1)
    assert (isinstance(sent, RLTuner), isinstance(sent, SupportsLRScale)) == (True, True)
    assert sent.identity == tuner.identity
    assert sent.with_lr_scale(0.5).identity == tuner.with_lr_scale(0.5).identity
    killer = threading.Thread(target=end_worker_at_checkpoint, args=(tmp_path / "work" / CHECKPOINT_FOLDER, ended))
    killer.start()
    policy = sent.tune(start, ROWS, tmp_path / "policy", 3)
    killer.join()
    assert len(ended) == 1
    assert "goes on from checkpoint-" in (tmp_path / "work" / "log").read_text()
    assert policy == in_process.model_copy(update={"adapter": str(tmp_path / "policy")})
    assert (tmp_path / "work" / f"{JOB_FILE}.gpus").read_text() == "0\n", "the only node with a GPU"


def test_workers_rate_answers_as_this_process_does_to_the_last_bit(
    start: ModelRef, cluster: RayCluster, tmp_path: Path
) -> None:
    model = start.under(str(tiny_models.build(tmp_path / "checkpoint", seed=2)))
    options = RewardOptions(device="cpu")
    here, there = RewardModel(model, options), RayRewarder(model, options, cluster)
    answers = [rated(f"a{n}", " ".join(tiny_models.WORDS[: n % 40 + 1])) for n in range(90)]
    answers.append(rated("failed", "", stop="error"))
    expected = {reward.id: reward.value for reward in here.rewards(answers)}
    assert [id for id, value in expected.items() if value is None] == ["failed"]
    assert len(set(expected.values())) > 30
    assert {reward.id: reward.value for reward in there.rewards(answers)} == expected
    assert there.identity == here.identity


def test_an_answer_that_ends_its_workers_has_no_worth() -> None:
    both, _ = ExchangeChunk([rated("a", "yes"), rated("b", "no")]).share_out()
    assert [[e.id for e in chunk.exchanges] for chunk in both] == [["a"], ["b"]]
    (again,), _ = both[0].share_out()
    assert again.share_out() == ([], [ExchangeReward(id="a", value=None)])


def test_what_goes_wrong_there_is_said_here(start: ModelRef, cluster: RayCluster, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="There are no rows to train on"):
        RayTuner(LocalTuner(OPTIONS), cluster, cpus=1, gpus=0).tune(start, [], tmp_path / "policy", 3)
    small = RayCluster(cluster.options.model_copy(update={"wait_s": 1.0}))
    with pytest.raises(UnavailableError, match="no worker with 1 CPUs and 2 GPUs"):
        RayTuner(LocalTuner(OPTIONS), small, cpus=1, gpus=2).tune(start, ROWS, tmp_path / "policy", 3)
    judge: Any = object()
    with pytest.raises(TuningError, match="A judge cannot reward"):
        RayTuner(LocalTuner(OPTIONS), cluster, cpus=1, gpus=0).tune(start, ROWS, tmp_path / "policy", 3, None, judge)
