"""Weights at hand on the workers of a cluster: what they answer is what this process would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from charter.errors import EngineError
from charter.models import weights
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.engines.ray_cluster import RayCluster, RayOptions
from charter.models.engines.ray_engine import RayEngine
from charter.records.chat import Message, Sampling, ScoreRequest
from charter.spec import OracleSpec, parse_spec
from charter.wiring import role_models
from charter.wiring.cluster_engines import LocalOracle, LocalReplica
from charter.wiring.targets import Targets
from tests.fakes import tiny_models

pytestmark = pytest.mark.slow

CPU = LocalOptions(device="cpu")
ASKED = [
    tiny_models.ask(f"r{n}", " ".join(tiny_models.WORDS[n : n + 1 + n % 7]), seed=n, max_tokens=8) for n in range(24)
]
DRAWN = [one.model_copy(update={"sampling": Sampling(temperature=0.9, top_p=0.95, max_tokens=8)}) for one in ASKED]
SCORED = [
    ScoreRequest(id=f"s{n}/{word}", messages=(Message(role="user", content=word * (1 + n % 3)),), completion=word)
    for n, word in enumerate(tiny_models.WORDS[:12])
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    pytest.importorskip("ray")
    with closing(RayCluster(RayOptions(workers=2, batch=5))) as found:
        yield found


@pytest.mark.filterwarnings("default")
def test_workers_answer_and_weigh_what_this_process_does(folder: Path, cluster: RayCluster) -> None:
    model = weights.resolve_model(str(folder))
    here, there = LocalEngine(model, CPU), RayEngine(LocalReplica(model, CPU), cluster)
    assert there.identity == here.identity
    for requests in (ASKED, DRAWN):
        expected = {one.id: one for one in here.generate(requests)}
        assert len({one.text for one in expected.values()}) > 3
        assert {one.id: one for one in there.generate(requests)} == expected
    weighed = {one.id: one for one in here.score(SCORED)}
    found = {one.id: one for one in there.score(SCORED)}
    assert found.keys() == weighed.keys()
    for id, one in weighed.items():
        assert found[id].value == pytest.approx(one.value, rel=1e-6)
        assert found[id].model_copy(update={"value": one.value}) == one
    there.close()


def test_a_worker_swaps_the_policy_of_what_it_holds(folder: Path, tmp_path: Path) -> None:
    model = weights.resolve_model(str(folder))
    replica = LocalReplica(model, CPU)
    engine = replica.open(None)
    assert replica.open(engine) is engine
    other = weights.resolve_model(str(tiny_models.build(tmp_path / "other", seed=1)))
    with pytest.raises(EngineError, match="another base"):
        LocalReplica(other, CPU).open(engine)
    least = LocalReplica(model, CPU, Sampling(max_tokens=9))
    assert isinstance(least.open(None), LocalOracle)


def test_targets_and_oracles_of_the_spec_go_to_its_cluster(folder: Path, tmp_path: Path) -> None:
    asked = {"world": "village", "executor": "ray", "target": {"model": str(folder)}}
    spec = parse_spec(json.dumps(asked))
    start = weights.resolve_model(str(folder))
    with closing(Targets(spec, start, tmp_path)) as targets:
        with targets.open_engine(start) as engine:
            assert isinstance(engine, RayEngine)
            assert engine.identity == role_models.build_local_engine(spec, start).identity
        with targets.open_engine(start) as again:
            assert again is engine
        oracle = OracleSpec(model=str(folder))
        judge = role_models.connect_oracle(oracle, None, cluster=targets.cluster)
        assert isinstance(judge, RayEngine)
        assert judge.identity == role_models.connect_oracle(oracle, None).identity
