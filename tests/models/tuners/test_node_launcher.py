"""Training over two nodes of a real Ray cluster: the policy of one process, also after a lost node and owner."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from charter.errors import TuningError, UnavailableError
from charter.models import processes
from charter.models.engines.ray_cluster import RayCluster, RayOptions
from charter.models.tuners import node_launcher
from charter.models.tuners.isolation import find_newest_checkpoint
from charter.models.tuners.launched_tuner import CHECKPOINT_FOLDER, RESULT_FILE, LaunchedTuner
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.node_launcher import STILL_AT_WORK, NodeLauncher, NodeProcess
from charter.models.tuners.tuner_options import SftOptions
from charter.records.model_refs import ModelRef
from tests.contracts.test_tuner import ROWS
from tests.fakes.ray_replicas import start_nodes
from tests.models.tuners.test_launched_tuner import ACCELERATE, tensors

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # those of Ray are not ours

OPTIONS = SftOptions(device="cpu", lr=5e-3, epochs=200, batch=2, save_steps=20, max_length=20)
WHERE = "--machine_rank {node} --main_process_ip {host} --main_process_port {port}"
NODES = f"{ACCELERATE} --multi_gpu --num_processes 2 --num_machines {{nodes}} {WHERE} {{script}} {{job}}"
OWNER = """
import sys
from pathlib import Path
from charter.models.engines.ray_cluster import RayCluster, RayOptions
from charter.records.model_refs import ModelRef
from tests.models.tuners import test_node_launcher as t
work, start = Path(sys.argv[1]), ModelRef.model_validate_json(sys.argv[2])
cluster = RayCluster(RayOptions(address=sys.argv[3], wait_s=60))
t.make_tuner(work, cluster).tune(start, t.ROWS, work / "killed", 3)
"""


def make_tuner(work: Path, cluster: RayCluster, command: str = NODES, nodes: int = 2) -> LaunchedTuner:
    return LaunchedTuner(OPTIONS, command, work, launcher=NodeLauncher(cluster, nodes, cpus=1, gpus=0))


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        with start_nodes(2) as nodes:
            found: Any = nodes
            yield RayCluster(RayOptions(address=found.address, wait_s=60))


def wait_until(holds: Callable[[], object]) -> None:
    while not holds():
        time.sleep(0.01)


def end_a_node_process(work: Path, ended: list[int]) -> None:
    """Once the training has gone on, and written another checkpoint."""
    checkpoints, log = work / CHECKPOINT_FOLDER, work / "log-0"
    wait_until(lambda: "goes on from checkpoint-" in log.read_text())
    known = find_newest_checkpoint(checkpoints, 2)
    wait_until(lambda: find_newest_checkpoint(checkpoints, 2) != known or (work / RESULT_FILE).exists())
    for process in psutil.Process().children(recursive=True):
        if not ended and "NodeProcess" in " ".join(process.cmdline()):
            process.kill()
            ended.append(process.pid)


def test_two_nodes_train_the_policy_of_one_process_though_their_owner_and_then_a_node_are_lost(
    start: ModelRef, cluster: RayCluster, tmp_path: Path
) -> None:
    work, ended = tmp_path / "work", list[int]()
    words = [str(work), start.model_dump_json(), cluster.options.address]
    owner = subprocess.Popen([sys.executable, "-c", OWNER, *words], cwd=Path(__file__).parents[3])
    wait_until(lambda: find_newest_checkpoint(work / CHECKPOINT_FOLDER, 2) or owner.poll() is not None)
    assert owner.poll() is None
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    (work / "log-0").write_text("")
    killer = threading.Thread(target=end_a_node_process, args=(work, ended))
    killer.start()
    policy = make_tuner(work, cluster).tune(start, ROWS, tmp_path / "policy", 3)
    killer.join()
    assert len(ended) == 1
    assert all("goes on from checkpoint-" in (work / f"log-{node}").read_text() for node in (0, 1))
    expected = LocalTuner(OPTIONS).tune(start, ROWS, tmp_path / "here", 3)
    assert set(policy.files) == set(expected.files)
    found, known = tensors(policy), tensors(expected)
    assert max((found[name] - known[name]).abs().max().item() for name in known) < 1e-3


def test_a_node_that_fails_says_its_last_words(start: ModelRef, cluster: RayCluster, tmp_path: Path) -> None:
    said = "import sys; sys.exit('no device' if {node} else 0)"
    command = f'{sys.executable} -S -c "{said}" {{host}} {{port}} {{script}} {{job}}'
    with pytest.raises(TuningError, match=r"ended with status 1.*\nno device") as caught:
        make_tuner(tmp_path / "work", cluster, command).tune(start, ROWS, tmp_path / "policy", 3)
    assert str(tmp_path / "work") in caught.value.cure
    assert list((tmp_path / "policy").iterdir()) == []


def test_nodes_that_the_cluster_does_not_have_are_named(start: ModelRef, cluster: RayCluster, tmp_path: Path) -> None:
    small = RayCluster(cluster.options.model_copy(update={"wait_s": 1.0}))
    with pytest.raises(UnavailableError, match="gave no 3 nodes with 1 CPUs each within 1 s"):
        make_tuner(tmp_path / "work", small, nodes=3).tune(start, ROWS, tmp_path / "policy", 3)


def test_what_an_earlier_training_left_on_a_node_is_waited_for_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_launcher, "GRACE_SECONDS", 0.05)
    ran = tmp_path / "ran"
    command = [sys.executable, "-S", "-c", f"open({str(ran)!r}, 'w')"]
    with processes.exclusive_lock(tmp_path / "lock", 0):
        status, said = NodeProcess().run_command(command, tmp_path / "log", tmp_path / "lock")
    assert (status, ran.exists()) == (STILL_AT_WORK, False)
    assert "still at work on this node" in said
    assert NodeProcess().run_command(command, tmp_path / "log", tmp_path / "lock") == (0, "")
    assert ran.exists()
