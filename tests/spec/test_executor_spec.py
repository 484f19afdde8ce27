"""Where local models answer."""

from __future__ import annotations

import json
import re

import pytest

from charter.errors import SpecError
from charter.spec import ExecutorSpec, parse_spec
from charter.wiring.role_models import build_cluster


def test_a_name_alone_is_the_kind() -> None:
    spec = parse_spec("world: village\nexecutor: ray\n", "spec.yaml")
    assert spec.executor == ExecutorSpec(kind="ray")
    assert parse_spec("world: village\n", "spec.yaml").executor.kind == "process"


def test_the_cluster_is_as_the_spec_says() -> None:
    text = "world: village\nexecutor: {kind: ray, address: head:6379, workers: 8, cpus: 2, gpus: 0.5, batch: 7}\n"
    cluster = build_cluster(parse_spec(text, "spec.yaml"))
    assert cluster is not None
    found = cluster.options.model_dump(exclude={"wait_s"})
    assert found == {"address": "head:6379", "workers": 8, "cpus": 2.0, "gpus": 0.5, "batch": 7}
    assert build_cluster(parse_spec("world: village\n", "spec.yaml")) is None


@pytest.mark.parametrize("wrong", ["slurm", "{kind: ray, workers: 0}", "{kind: ray, gpus: -1}", "{nodes: 2}"])
def test_what_is_wrong_is_said(wrong: str) -> None:
    with pytest.raises(SpecError, match="executor"):
        parse_spec(f"world: village\nexecutor: {wrong}\n", "spec.yaml")


@pytest.mark.parametrize(
    ("tuner", "fault"),
    [
        ({"on_cluster": True}, "tuner.on_cluster: there is no cluster; set executor: ray"),
        ({"gpus": 8}, "tuner.cpus, tuner.gpus, tuner.nodes: are for tuner.on_cluster, which is not set"),
        ({"nodes": 2}, "tuner.cpus, tuner.gpus, tuner.nodes: are for tuner.on_cluster, which is not set"),
        ({"on_cluster": True, "nodes": 2}, "tuner.nodes: is for tuner.launch, which is not set"),
        (
            {"on_cluster": True, "nodes": 2, "launch": "torchrun --node_rank {node} {script} {job}"},
            "tuner.launch: holds no {host}",
        ),
        (
            {"on_cluster": True, "launch": "torchrun --node_rank {node} {script} {job}"},
            "tuner.launch: {node} is not known; there are script, job",
        ),
        (
            {"on_cluster": True, "program": "python:a.b:C"},
            "a tuner of your own cannot be launched, placed or quantized",
        ),
    ],
)
def test_training_on_a_cluster_needs_one(tuner: dict[str, object], fault: str) -> None:
    with pytest.raises(SpecError, match=re.escape(fault)):
        parse_spec(json.dumps({"world": "village", "tuner": tuner}))
    assert (
        parse_spec(json.dumps({"world": "village", "executor": "ray", "tuner": {"on_cluster": True}})).tuner.cpus == 1
    )
