"""Where local models answer."""

from __future__ import annotations

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
