"""Engines on the workers of a real Ray cluster: what is lost is asked again, and what ends workers is named."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charter.errors import EngineError, UnavailableError
from charter.models.engines.ray_cluster import RayCluster, RayOptions
from charter.models.engines.ray_engine import RayEngine
from charter.ports import Engine, SupportsDrain
from charter.records.chat import Completion, Message, Request, ScoreRequest
from tests.fakes.ray_replicas import ScriptedReplica, answer, asked_ids, start_nodes, worker_pids

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # those of Ray are not ours


def ask(number: int, text: str = "") -> Request:
    return Request(id=f"r{number}", messages=(Message(role="user", content=text or f"word {number}"),), seed=number)


REQUESTS = [ask(n) for n in range(40)]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # else others on this machine starve the workers
        with start_nodes(2) as cluster:
            yield cluster


@pytest.fixture
def cluster(nodes: Any) -> Iterator[RayCluster]:
    joined = RayCluster(RayOptions(workers=2, batch=4, wait_s=60))
    yield joined
    joined.close()


def by_id(found: list[Completion]) -> dict[str, Completion]:
    assert len({one.id for one in found}) == len(found), "an id was answered twice"
    return {one.id: one for one in found}


def test_workers_answer_what_one_process_answers(cluster: RayCluster, tmp_path: Path) -> None:
    replica = ScriptedReplica(tmp_path)
    engine = RayEngine(replica, cluster)
    assert (isinstance(engine, Engine), isinstance(engine, SupportsDrain)) == (True, True)
    here = by_id(list(replica.open(None).generate(REQUESTS)))
    assert by_id(list(engine.generate(REQUESTS))) == here
    done = {request.id for request in REQUESTS[::3]}
    assert set(by_id(list(engine.generate(REQUESTS, done)))) == set(here) - done
    assert set(worker_pids(tmp_path)) - {os.getpid()}, "others answered; a worker that starts late gets nothing"
    scores = [ScoreRequest(id=r.id, messages=r.messages, completion="x") for r in REQUESTS]
    assert sorted(found.id for found in engine.score(scores)) == sorted(here)
    engine.close()


def test_a_killed_worker_loses_and_doubles_nothing(cluster: RayCluster, tmp_path: Path) -> None:
    engine, killed = RayEngine(ScriptedReplica(tmp_path, slow=1.0), cluster), list[int]()
    found = []
    for one in engine.generate(REQUESTS):
        found.append(one)
        if len(found) in (8, 20):
            pid = next(pid for pid in worker_pids(tmp_path) if pid not in killed)
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
    assert {one.id: one.text for one in by_id(found).values()} == {r.id: answer(r) for r in REQUESTS}
    assert len(worker_pids(tmp_path)) > 2
    engine.close()


def test_a_request_that_ends_its_workers_is_answered_with_an_error(cluster: RayCluster, tmp_path: Path) -> None:
    engine = RayEngine(ScriptedReplica(tmp_path, poison="venom"), cluster)
    requests = [*REQUESTS[:10], ask(99, "venom")]
    found = by_id(list(engine.generate(requests)))
    assert {one.id for one in found.values() if one.error} == {"r99"}
    assert found["r99"].error == "lost workers: it ended 2 workers that had nothing else to answer"
    assert {r.id: answer(r) for r in REQUESTS[:10]} == {id: one.text for id, one in found.items() if id != "r99"}
    assert asked_ids(tmp_path).count("r99") <= 3
    label = ScoreRequest(id="s/1", messages=(Message(role="user", content="venom"),), completion="x", label=True)
    assert [one.error for one in engine.score([label])] == [found["r99"].error]
    labels = [label.model_copy(update={"id": f"both/{word}", "completion": word}) for word in ("yes", "no")]
    fine = [one.model_copy(update={"id": f"fine/{n}", "messages": ask(n).messages}) for n, one in enumerate(labels)]
    weighed = {one.id: one for one in engine.score([*labels, *fine])}
    assert {id for id, one in weighed.items() if one.error} == {"both/yes", "both/no"}
    assert asked_ids(tmp_path).count("both/yes") <= 3, "labels of one call are weighed together, also when alone"
    with pytest.raises(EngineError, match=r"Cannot score s/2: it ended 2 workers"):
        list(engine.score([label.model_copy(update={"id": "s/2", "label": False})]))
    engine.close()


def test_workers_that_rest_make_room_for_other_models(cluster: RayCluster, tmp_path: Path) -> None:
    target, judge = (RayEngine(ScriptedReplica(tmp_path, identity=name), cluster) for name in ("target", "judge"))
    for engine in (target, judge, target):
        assert len(list(engine.generate(REQUESTS))) == len(REQUESTS), "two processors, and two workers for each model"
    target.close()
    judge.close()


def test_a_slow_request_holds_no_other(cluster: RayCluster, tmp_path: Path) -> None:
    engine = RayEngine(ScriptedReplica(tmp_path, slow=6.0), cluster)
    requests = [ask(0, "slow word that is the longest of them all"), *(ask(n) for n in range(1, 9))]
    ids = [one.id for one in engine.generate(requests)]
    assert sorted(ids) == sorted(r.id for r in requests)
    assert ids.index("r0") >= len(ids) - 2
    engine.close()


def test_a_removed_node_loses_and_doubles_nothing(nodes: Any, cluster: RayCluster, tmp_path: Path) -> None:
    extra = nodes.add_node(num_cpus=1, object_store_memory=80 << 20)
    wide = RayCluster(RayOptions(workers=3, batch=2, wait_s=60))
    engine, found = RayEngine(ScriptedReplica(tmp_path, slow=1.0), wide), []
    for one in engine.generate(REQUESTS):
        found.append(one)
        if len(found) == 10:
            nodes.remove_node(extra, allow_graceful=False)
    assert {one.id: one.text for one in by_id(found).values()} == {r.id: answer(r) for r in REQUESTS}
    engine.close()


def test_drained_it_yields_what_is_under_way(cluster: RayCluster, tmp_path: Path) -> None:
    engine, found = RayEngine(ScriptedReplica(tmp_path, slow=0.5), cluster), []
    for one in engine.generate(REQUESTS):
        found.append(one)
        engine.drain()
    assert 0 < len(by_id(found)) <= 3 * 4
    assert len(list(engine.generate(REQUESTS))) == len(REQUESTS)
    engine.close()


def test_what_cannot_be_opened_is_an_error_with_its_cure(cluster: RayCluster, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="the weights are gone"):
        list(RayEngine(ScriptedReplica(tmp_path, broken="error"), cluster).generate(REQUESTS))
    with pytest.raises(EngineError, match="3 workers ended one after the other while they loaded the model"):
        list(RayEngine(ScriptedReplica(tmp_path, broken="death"), cluster).generate(REQUESTS))


def test_a_cluster_without_room_is_said(nodes: Any, tmp_path: Path) -> None:
    small = RayCluster(RayOptions(workers=1, cpus=64, wait_s=2))
    engine, began = RayEngine(ScriptedReplica(tmp_path), small), time.monotonic()
    with pytest.raises(UnavailableError, match=r"no worker with 64 CPUs and 0 GPUs within 2 s"):
        list(engine.generate(REQUESTS))
    assert time.monotonic() - began < 30
    engine.close()
