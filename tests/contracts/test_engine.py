"""What every engine keeps, run over each adapter of ``ports.Engine``."""

from __future__ import annotations

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
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.ports import Engine
from charter.records.chat import Completion, Message, ScoreRequest
from tests.fakes import architectures, tiny_models
from tests.fakes.openai_server import serve
from tests.fakes.ray_replicas import ScriptedReplica

pytestmark = pytest.mark.slow

REQUESTS = [
    tiny_models.ask(f"r{n}", f"{word} {word}", seed=n, max_tokens=6) for n, word in enumerate(tiny_models.WORDS[:20])
]


@pytest.fixture(scope="module", params=["scripted", "shuffled", "remote", "ray", *architectures.ZOO])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    kind = request.param
    if kind in ("scripted", "shuffled"):
        yield ScriptedEngine(
            lambda r: r.messages[-1].content.upper(), shuffle=7 if kind == "shuffled" else None, grader=lambda _: -1.5
        )
    elif kind == "ray":
        with closing(RayCluster(RayOptions(workers=2, batch=4))) as cluster:
            yield RayEngine(ScriptedReplica(tmp_path_factory.mktemp(kind)), cluster)
    elif kind == "remote":
        from charter.models.engines.remote_engine import RemoteEngine, RemoteOptions

        with serve(lambda body: {"text": body["messages"][-1]["content"].upper()}) as server:
            remote = RemoteEngine("echo", RemoteOptions(base_url=server.url))
            yield remote
            remote.close()
    else:
        where: Path = architectures.build(tmp_path_factory.mktemp(kind), kind)
        yield LocalEngine(weights.resolve_model(str(where)), LocalOptions(device="cpu", batch_size=8))


def answers(completions: Iterator[Completion]) -> dict[str, Completion]:
    found = list(completions)
    by_id = {completion.id: completion for completion in found}
    assert len(by_id) == len(found), "an id was answered twice"
    return by_id


def test_is_an_engine(engine: Engine) -> None:
    assert isinstance(engine, Engine)
    assert engine.identity == engine.identity != ""


def test_answers_every_request_once(engine: Engine) -> None:
    found = answers(engine.generate(REQUESTS))
    assert set(found) == {request.id for request in REQUESTS}
    assert not any(completion.error for completion in found.values())
    assert all(completion.tokens_in > 0 for completion in found.values())


def test_leaves_out_what_is_done_and_answers_the_rest_alike(engine: Engine) -> None:
    whole = answers(engine.generate(REQUESTS))
    done = {request.id for request in REQUESTS[::3]}
    rest = answers(engine.generate(REQUESTS, done))
    assert rest == {key: value for key, value in whole.items() if key not in done}


def test_does_nothing_for_nothing(engine: Engine) -> None:
    assert list(engine.generate([])) == []
    assert list(engine.generate(REQUESTS, {request.id for request in REQUESTS})) == []


def test_answers_again_after_close(engine: Engine) -> None:
    before = answers(engine.generate(REQUESTS[:2]))
    engine.close()
    assert answers(engine.generate(REQUESTS[:2])) == before


def test_scores_or_says_that_it_cannot(engine: Engine) -> None:
    asked = [
        ScoreRequest(id=f"s{n}", messages=(Message(role="user", content="red green"),), completion=word)
        for n, word in enumerate(["blue", "one two", "three four five"])
    ]
    if engine.identity.startswith("remote"):
        with pytest.raises(EngineError, match="log-likelihoods"):
            list(engine.score(asked))
        return
    found = {score.id: score for score in engine.score(asked)}
    assert 1 <= found["s0"].tokens < found["s1"].tokens < found["s2"].tokens
    assert all(score.value <= 0 for score in found.values())
    assert {score.id for score in engine.score(asked, {"s1"})} == {"s0", "s2"}
    assert list(engine.score([])) == []
