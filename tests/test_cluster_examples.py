"""The examples for SLURM and Kubernetes: what they name is there, and the script does what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import docs
import pytest
import yaml
from typer.testing import CliRunner

from charter.cli.app import app
from charter.spec import OracleSpec, Spec, read_spec

EXAMPLES = Path(docs.ROOT) / "examples"
SCRIPT = EXAMPLES / "slurm.sh"
STAND_INS = {
    "hostname": 'case "$*" in *--ip-address*) echo 10.0.0.1 10.0.0.2;; *) echo node1;; esac',
    "ray": 'echo "ray $*" >> "$LOG"',
    "srun": 'echo "srun $*" >> "$LOG"',
    "charter": """while [ "$SLURM_JOB_NUM_NODES" -gt 1 ] && ! grep -q srun "$LOG"; do sleep 0.01; done
echo "charter $*" >> "$LOG"; exit $CODE""",
}
"""Commands of a cluster that take down how they are called; the run waits for the other nodes."""


@pytest.fixture(scope="module")
def spec() -> Spec:
    """The spec that both jobs start."""
    return read_spec(EXAMPLES / "cluster.yaml")[0]


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    """The spec of the job for Kubernetes."""
    value: dict[str, Any] = yaml.safe_load((EXAMPLES / "kuberay.yaml").read_text(encoding="utf-8"))
    assert (value["apiVersion"], value["kind"]) == ("ray.io/v1", "RayJob")
    return dict(value["spec"])


def count_gpus(spec: Spec) -> float:
    """GPUs that the workers of all roles hold at once, and no fewer than training takes."""
    roles = [role for role in (spec.oracle, spec.evaluator) if isinstance(role, OracleSpec)]
    weights = {spec.target.model, *(role.model for role in roles)}
    return len(weights) * spec.executor.workers * spec.executor.gpus


def training_processes(spec: Spec) -> int:
    """Processes that train, each on a GPU of one node."""
    found = re.search(r"--num_processes (\d+)", spec.tuner.launch)
    assert found is not None
    return int(found[1])


def play(tmp_path: Path, nodes: int, code: int = 0) -> tuple[int, list[str]]:
    """The script among stand-ins: its exit code, and what it called in order."""
    for name, body in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    log = tmp_path / "log"
    given = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(log), "CODE": str(code)}
    given |= {"SLURM_JOB_NUM_NODES": str(nodes), "SLURM_CPUS_PER_TASK": "8"}
    ended = subprocess.run(["bash", str(SCRIPT), "a spec.yaml", "runs/a"], env=given, capture_output=True, check=False)
    return ended.returncode, log.read_text(encoding="utf-8").splitlines()


def test_the_script_starts_the_head_then_the_others_then_the_run_and_ends_the_cluster(tmp_path: Path) -> None:
    code, called = play(tmp_path, 4)
    assert code == 0
    assert called[0].startswith("ray start --head --node-ip-address=10.0.0.1 --port=6379")
    others = "srun --nodes=3 --ntasks-per-node=1 --exclude=node1 ray start --address=10.0.0.1:6379 --num-cpus=8 --block"
    assert {others, "charter run a spec.yaml --out runs/a --quiet"} == set(called[1:-1])
    assert called[-1] == "ray stop --force"


def test_one_node_needs_no_others_and_the_code_of_the_run_is_that_of_the_job(tmp_path: Path) -> None:
    code, called = play(tmp_path, 1, code=8)
    assert code == 8
    assert [line.split()[0] for line in called] == ["ray", "charter", "ray"]


def test_the_nodes_of_the_script_hold_the_workers_of_the_spec(spec: Spec) -> None:
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE))
    assert int(asked["nodes"]) * int(asked["gpus-per-node"]) >= count_gpus(spec) > 0
    assert int(asked["gpus-per-node"]) == training_processes(spec)
    assert (spec.executor.kind, spec.executor.address) == ("ray", "auto")


def test_the_pods_hold_the_workers_of_the_spec_and_see_its_files(spec: Spec, job: dict[str, Any]) -> None:
    cluster = job["rayClusterSpec"]
    groups = [(1, cluster["headGroupSpec"]), *((g["replicas"], g) for g in cluster["workerGroupSpecs"])]
    gpus = 0
    for count, group in groups:
        (pod,) = group["template"]["spec"]["containers"]
        assert pod["resources"]["limits"] == pod["resources"]["requests"]
        held = int(pod["resources"]["limits"]["nvidia.com/gpu"])
        assert held == training_processes(spec)
        gpus += count * held
        volumes = {volume["name"] for volume in group["template"]["spec"]["volumes"]}
        mounted = [m["mountPath"] for m in pod["volumeMounts"] if m["name"] in volumes]
        assert any(spec.target.model.startswith(f"{path}/") for path in mounted)
    assert gpus >= count_gpus(spec)


def test_the_job_runs_a_command_that_exists_with_the_ray_of_the_pins(job: dict[str, Any]) -> None:
    pinned = re.search(r"^ray==(\S+)$", (Path(docs.ROOT) / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    assert job["rayClusterSpec"]["rayVersion"] == pinned[1]
    program, *words = shlex.split(job["entrypoint"])
    assert program == "charter"
    assert Path(words[1]).name == "cluster.yaml"
    local = [str(EXAMPLES / "cluster.yaml") if word == words[1] else word for word in words]
    asked = CliRunner().invoke(app, [*local, "--dry-run"])
    assert asked.exit_code != 2, asked.output
    assert "shared" in str(asked.exception or asked.output), "it goes as far as the files that are not here"
