"""Weights at hand on the workers of a cluster: what they answer is what this process would."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from charter.errors import EngineError
from charter.judging.rubrics import SHIPPED_RUBRICS
from charter.models import weights
from charter.models.embedders.hidden_states import HiddenStateEmbedder
from charter.models.embedders.ray_embedder import RayEmbedder, TextChunk
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.engines.ray_cluster import RayCluster, RayOptions
from charter.models.engines.ray_engine import RayEngine
from charter.models.engines.sequence_classifier import ClassifierOptions, SequenceClassifier
from charter.models.tuners.launched_tuner import LaunchedTuner
from charter.models.tuners.ray_rewards import RayRewarder
from charter.models.tuners.ray_tuner import RayTuner
from charter.ports import Engine
from charter.records.chat import Exchange, Message, Prompt, Sampling, ScoreRequest
from charter.records.record import Step
from charter.records.templates import Templates
from charter.records.verdicts import Verdict
from charter.spec import JudgingSpec, OracleSpec, parse_spec
from charter.stages.judge import judge
from charter.wiring import role_models
from charter.wiring.cluster_classifiers import ClusterClassifier
from charter.wiring.cluster_engines import LocalOracle, LocalReplica
from charter.wiring.embedder import build_embedder
from charter.wiring.learners import build_learners
from charter.wiring.targets import MemoryFreeingTuner, Targets
from tests.fakes import tiny_classifiers, tiny_models
from tests.fakes.ray_replicas import PoisonedClassifier
from tests.fakes.tiny_models import WORDS

pytestmark = pytest.mark.slow

SERVER = f"{sys.executable} -S {Path(__file__).parents[1] / 'fakes/chat_server.py'}"

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


def answered(id: str, text: str) -> Exchange:
    prompt = Prompt(id=id, messages=(Message(role="user", content="what do you say"),))
    return Exchange(id=id, prompt=prompt, response=text, stop="stop", model="m", sampling=Sampling())


def judge_all(engine: Engine, exchanges: list[Exchange]) -> dict[str, Verdict]:
    rubric, step = SHIPPED_RUBRICS["harm"], Step("judge", 0)
    said = judge(exchanges, engine, rubric, Templates(), JudgingSpec(read="label"), step=step)
    return {verdict.id: verdict for verdict in said}


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


def test_a_worker_places_texts_as_this_process_does_to_the_last_bit(folder: Path, cluster: RayCluster) -> None:
    model = weights.resolve_model(str(folder))
    here = HiddenStateEmbedder("tiny", lambda: LocalEngine(model, CPU))
    engine = RayEngine(LocalReplica(model, CPU), cluster, cluster.options.model_copy(update={"workers": 1}))
    there, texts = RayEmbedder(here, engine), [" ".join(WORDS[n % 9 : n % 50 + 9]) for n in range(120)]
    assert len(here.form_batches([*texts, ""])) > 3
    assert there.embed([*texts, ""]) == here.embed([*texts, ""])
    assert there.identity == here.identity
    assert there.embed([]) == []
    engine.close()


def test_a_text_that_ends_its_workers_is_an_error() -> None:
    (again,), found = TextChunk([3], ["venom"]).share_out()
    assert (again.places, found) == ([3], [])
    with pytest.raises(EngineError, match=r"begins with 'venom'") as caught:
        again.share_out()
    assert "embedder: none" in caught.value.cure


def test_a_worker_weighs_exchanges_as_this_process_does_until_one_ends_it(cluster: RayCluster, tmp_path: Path) -> None:
    cluster.join()
    model = weights.resolve_model(str(tiny_classifiers.build(tmp_path / "classifier")))
    told, options = {"harm": {"toxic": "harmful", "neutral": "harmless"}}, ClassifierOptions(device="cpu")
    rubrics = {"harm": SHIPPED_RUBRICS["harm"]}
    here = SequenceClassifier(model, told, rubrics, options)
    alone = RayCluster(cluster.options.model_copy(update={"workers": 1}))
    there = ClusterClassifier(model, told, rubrics, options, alone)
    assert (there.identity, there.list_labels("harm")) == (here.identity, here.list_labels("harm"))
    said = [f"{verb} you" + " now" * (n % 3) for n, verb in enumerate(["hate", "thank", "rob", "see"] * 5)]
    exchanges = [answered(f"e{n}", text) for n, text in enumerate(said)]
    judged, expected = judge_all(there, exchanges), judge_all(here, exchanges)
    assert {one.outcome for one in expected.values()} == {"violates", "complies"}
    assert judged.keys() == expected.keys()
    for id, one in expected.items():
        assert judged[id].probability == pytest.approx(one.probability, rel=1e-5)
        assert judged[id].model_copy(update={"probability": one.probability}) == one
    there._engine.use_opener(PoisonedClassifier(model, told, rubrics, options, here.identity))
    found = judge_all(there, [*exchanges[:2], answered("bad", "venom")])
    assert {id for id, one in found.items() if one.outcome == "unjudged"} == {"bad"}
    assert "it ended 2 workers" in found["bad"].raw
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
            here = role_models.build_local_engine(spec, start)
            assert engine.identity == here.identity
            assert (engine.renders, engine.render(ASKED[0])) == (here.renders, here.render(ASKED[0]))
            assert engine.render(ASKED[0])
        with targets.open_engine(start) as again:
            assert again is engine
        oracle = OracleSpec(model=str(folder))
        judge = role_models.connect_oracle(oracle, None, cluster=targets.cluster)
        assert isinstance(judge, RayEngine)
        assert judge.identity == role_models.connect_oracle(oracle, None).identity
        embedder = build_embedder(spec, start, targets.load_start, targets.find_workers)
        assert isinstance(embedder, RayEmbedder)
        assert targets.find_workers(start, role_models.local_options(spec)) is again, "the target's workers read"


def test_workers_start_servers_of_their_own_and_one_that_dies_is_replaced(folder: Path, tmp_path: Path) -> None:
    died, asked = tmp_path / "died", [tiny_models.ask(str(n), "hi") for n in range(30)]
    command = f"{SERVER} {{port}} {{name}} --folder {{base}} --pid --dies-once {died}"
    executor = {"kind": "ray", "workers": 2, "batch": 4}
    target = {"model": str(folder), "serve": command}
    spec = parse_spec(json.dumps({"world": "village", "executor": executor, "target": target}))
    start = weights.resolve_model(str(folder))
    with closing(Targets(spec, start, tmp_path)) as targets, targets.open_engine(start) as engine:
        assert isinstance(engine, RayEngine)
        said = [completion.text.split() for completion in engine.generate(asked)]
        assert died.exists()
        assert len(said) == 30
        assert {name for name, _ in said} == {f"charter-{start.digest[:16]}"}
        pids = {int(pid) for _, pid in said}
        assert engine.identity == role_models.build_served_engine(spec, start, tmp_path).identity
        other = start.model_copy(update={"digest": "f" * 64})
        with targets.open_engine(other) as swapped:
            (again,) = swapped.generate(asked[:1])
        assert again.text.split()[0] == f"charter-{'f' * 16}"
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_training_of_the_spec_goes_to_its_cluster(folder: Path, tmp_path: Path) -> None:
    asked = {"world": "village", "executor": "ray", "target": {"model": str(folder)}, "tuner": {"on_cluster": True}}
    spec = parse_spec(json.dumps(asked))
    cluster, start = role_models.build_cluster(spec), weights.resolve_model(str(folder))
    tuner = role_models.build_tuner(spec, tmp_path, cluster)
    assert isinstance(tuner, RayTuner)
    assert tuner.identity == role_models.build_tuner(parse_spec(json.dumps(asked | {"tuner": {}})), tmp_path).identity
    words = "torchrun --node_rank {node} --master_addr {host} --master_port {port} {script} {job}"
    several = parse_spec(json.dumps(asked | {"tuner": {"on_cluster": True, "nodes": 3, "launch": words}}))
    assert isinstance(role_models.build_tuner(several, tmp_path, cluster), LaunchedTuner)
    found = build_learners(spec, tmp_path, tmp_path, lambda one: MemoryFreeingTuner(one, lambda: None), cluster)
    assert isinstance(found.reward_tuner, MemoryFreeingTuner)
    assert isinstance(found.reward_tuner.tuner, RayTuner)
    assert isinstance(found.load_rewarder(start.under("reward")), RayRewarder)
