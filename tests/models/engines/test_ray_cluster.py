"""A cluster is joined when it is needed, left at the end, and said to be away where it is."""

from __future__ import annotations

import signal
import sys
import time

import psutil  # type: ignore[import-untyped]
import pytest

from charter.errors import EngineError, UnavailableError
from charter.models.engines.ray_cluster import RayCluster, RayOptions

ADDRESSES = ("127.0.0.1:1", "ray://127.0.0.1:1", "nohost.invalid:6379")


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_cluster_that_stays_away_pauses_the_run(address: str) -> None:
    pytest.importorskip("ray")
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=f"the Ray cluster {address} cannot be reached") as caught:
        RayCluster(RayOptions(address=address)).join()
    assert "charter resume" in caught.value.cure
    assert time.monotonic() - began < 30


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match="needs Ray") as caught:
        RayCluster(RayOptions()).join()
    assert caught.value.cure == "pip install 'charter[ray]'"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_local_cluster_ends_with_its_use_and_leaves_signals_alone() -> None:
    pytest.importorskip("ray")
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    others = set(psutil.Process().children(recursive=True))  # what earlier tests of this process left at work
    cluster = RayCluster(RayOptions(workers=1))
    ray = cluster.join()
    assert cluster.join() is ray
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    started = [one for one in psutil.Process().children(recursive=True) if one not in others]
    assert any("raylet" in process.name() for process in started)
    cluster.close()
    cluster.close()
    assert not ray.is_initialized()
    _, alive = psutil.wait_procs(started, timeout=30)
    assert alive == []
